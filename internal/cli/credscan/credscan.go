// Package credscan finds what is likely a credential in files, in the history of git, and in
// texts, by the rules of gitleaks and two of our own. A finding says where, and never what:
// the value itself is given to nobody but the function that looks for its key.
package credscan

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/rs/zerolog"
	"github.com/spf13/viper"
	"github.com/zricethezav/gitleaks/v8/config"
	"github.com/zricethezav/gitleaks/v8/detect"
	"github.com/zricethezav/gitleaks/v8/logging"
	"github.com/zricethezav/gitleaks/v8/report"
	"github.com/zricethezav/gitleaks/v8/sources"
)

// ownRules are appended to the rules of gitleaks.
//
//go:embed rules.toml
var ownRules string

// vague are rules that look at the name, or for chance: where another has found something, they
// say nothing new.
var vague = []string{"named-credential", "generic-api-key"}

// manifestRule finds a whole manifest, and says where that begins.
const manifestRule = "kubernetes-secret-yaml"

const (
	// maxFileBytes is the largest file that is looked at.
	maxFileBytes = 32 << 20
	// decodings is how often a text in base64, hex or percent-encoding is decoded and looked at
	// again: once for the data of a Secret, and once for what is encoded in it.
	decodings = 2
	// fingerprintBytes tells apart some thousand values.
	fingerprintBytes = 4
)

// Finding is a likely credential.
type Finding struct {
	// File, with Line from 1, is where it is. For a text, File is its name.
	File string
	Line int
	// Commit that brought it, in a history; else empty.
	Commit string
	// Rule is the name of the rule, and Description what it looks for.
	Rule, Description string
	// Fingerprint is the same for the same value within one Scanner, and tells nothing of it:
	// its key is made for the Scanner and kept nowhere.
	Fingerprint string

	secret string
}

// Format prints the place whatever the verb is, so that none prints the value.
func (f Finding) Format(s fmt.State, _ rune) {
	_, _ = fmt.Fprintf(s, "%s:%d %s", f.File, f.Line, f.Rule)
}

// Holds reports whether value is, has, or is part of what was found, as it is or in base64.
func (f Finding) Holds(value []byte) bool {
	const tooShort = 4 // is part of anything
	other := Finding{secret: string(value)}
	return len(value) >= tooShort && (f.has(other) || other.has(f))
}

// Scanner finds credentials. It is not safe for concurrent use: gitleaks has one logger for
// the process.
type Scanner struct {
	config  config.Config
	key     []byte
	skipped skipped
}

// New reads the rules.
func New() (*Scanner, error) {
	rules := viper.New()
	rules.SetConfigType("toml")
	if err := rules.ReadConfig(strings.NewReader(config.DefaultConfig + ownRules)); err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	var read config.ViperConfig
	if err := rules.Unmarshal(&read); err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	translated, err := read.Translate()
	if err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	s := &Scanner{config: translated, key: make([]byte, sha256.Size)}
	_, _ = rand.Read(s.key) // never fails, as crypto/rand documents
	// It logs what it skips, and at its lower levels what it finds.
	logging.Logger = zerolog.New(&s.skipped).Level(zerolog.WarnLevel)
	return s, nil
}

// detector is for one scan: it keeps what it finds.
func (s *Scanner) detector(ctx context.Context) *detect.Detector {
	d := detect.NewDetectorContext(ctx, s.config)
	d.MaxDecodeDepth = decodings
	return d
}

// Folder looks through the files of a folder, or one file. Archives and symbolic links are
// not opened. progress is told how many of the files were begun with.
func (s *Scanner) Folder(ctx context.Context, folder string, progress func(done, total int64)) ([]Finding, error) {
	if _, err := os.Stat(folder); err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	d := s.detector(ctx)
	tree := &sources.Files{Config: &d.Config, Path: filepath.Clean(folder), Sema: d.Sema, MaxFileSize: maxFileBytes}
	found, err := d.DetectSource(ctx, &counted{
		Source: tree, of: func(f *sources.Fragment) string { return f.FilePath }, total: files(folder), seen: map[string]bool{}, progress: progress,
	})
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", folder, err)
	}
	return s.findings(found), nil
}

// History looks through all commits of all branches of the git repository that folder is in,
// as far as they are about the folder, and tells progress how many of them it has begun with. It needs
// the program git.
func (s *Scanner) History(ctx context.Context, folder string, progress func(done, total int64)) ([]Finding, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return nil, errors.New("the history is read by git, which is not installed: install git, or leave --history out")
	}
	if err := exec.CommandContext(ctx, "git", "-C", folder, "rev-parse", "--git-dir").Run(); err != nil { //nolint:gosec // the folder that the user names
		return nil, fmt.Errorf("%s is not in a git repository, so it has no history: leave --history out", folder)
	}
	log, err := sources.NewGitLogCmdContext(ctx, folder, "--full-history --all --diff-filter=tuxdb -- .")
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", folder, err)
	}
	d := s.detector(ctx)
	git := &sources.Git{Cmd: log, Config: &d.Config, Sema: d.Sema, Remote: &sources.RemoteInfo{}}
	found, err := d.DetectSource(ctx, &counted{
		Source: git, of: func(f *sources.Fragment) string { return f.CommitSHA }, total: commits(ctx, folder), seen: map[string]bool{}, progress: progress,
	})
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", folder, err)
	}
	return s.findings(found), nil
}

// Text looks through a text. Some rules are for files of settings only, and go by the name.
func (s *Scanner) Text(ctx context.Context, name, text string) []Finding {
	found, _ := s.detector(ctx).DetectSource(ctx, given{Raw: text, FilePath: name, StartLine: 1}) // nothing can fail
	return s.findings(found)
}

// given is a source of one text.
type given sources.Fragment

// Fragments implements sources.Source.
func (g given) Fragments(_ context.Context, yield sources.FragmentsFunc) error {
	return yield(sources.Fragment(g), nil)
}

// Skipped says what could not be looked at, and why.
func (s *Scanner) Skipped() []string { return s.skipped.list() }

// findings are sorted by place. Of several rules that found one thing, the one that says most
// is left.
func (s *Scanner) findings(reported []report.Finding) []Finding {
	found := make([]Finding, 0, len(reported))
	for _, r := range reported {
		found = append(found, Finding{
			File: filepath.ToSlash(r.File), Line: r.StartLine, Commit: r.Commit, Rule: r.RuleID, Description: r.Description,
			Fingerprint: s.fingerprint(r.Secret), secret: r.Secret,
		})
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Commit, b.Commit),
			cmp.Compare(slices.Index(vague, a.Rule), slices.Index(vague, b.Rule)), cmp.Compare(a.Rule, b.Rule),
		)
	})
	var distinct []Finding
	for _, f := range found {
		if f.Rule == manifestRule && slices.ContainsFunc(found, f.covers) {
			continue // the other says the line
		}
		if !slices.ContainsFunc(distinct, func(other Finding) bool { return sameThing(f, other) }) {
			distinct = append(distinct, f)
		}
	}
	return distinct
}

// sameThing reports whether two rules found one value at one place.
func sameThing(a, b Finding) bool {
	return a.File == b.File && a.Line == b.Line && a.Commit == b.Commit && (a.has(b) || b.has(a))
}

// covers reports whether the finding, of a manifest, has other in it.
func (f Finding) covers(other Finding) bool {
	return other.Rule != manifestRule && f.File == other.File && f.Commit == other.Commit && f.has(other)
}

// has reports whether the value of other is in that of f, as it is or in base64.
func (f Finding) has(other Finding) bool {
	encoded := strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(other.secret)), "=")
	return strings.Contains(f.secret, other.secret) || strings.Contains(f.secret, encoded)
}

func (s *Scanner) fingerprint(secret string) string {
	mac := hmac.New(sha256.New, s.key)
	_, _ = io.WriteString(mac, secret)
	return hex.EncodeToString(mac.Sum(nil)[:fingerprintBytes])
}

// skipped collects the warnings of gitleaks, which are lines of JSON.
type skipped struct {
	mutex sync.Mutex
	lines []string
}

// Write implements io.Writer.
func (s *skipped) Write(p []byte) (int, error) {
	var line struct{ Path, Message, Error string }
	if err := json.Unmarshal(bytes.TrimSpace(p), &line); err == nil {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.lines = append(s.lines, strings.TrimPrefix(line.Path+": "+cmp.Or(line.Error, line.Message), ": "))
	}
	return len(p), nil
}

func (s *skipped) list() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Sorted(slices.Values(s.lines))
}
