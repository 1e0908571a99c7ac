// Package safetemplate renders text/template templates that people write who are not trusted with the process: over keys and
// their values only, with an allow-list of pure functions, and within limits, since text/template itself cannot be stopped.
package safetemplate
