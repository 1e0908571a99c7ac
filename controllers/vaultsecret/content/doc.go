// Package content makes the data of a native Secret from the values that a
// VaultSecret names: properties, raw values, picked keys and templates. It is
// pure: values in, bytes out, and no error ever holds any of a value.
package content
