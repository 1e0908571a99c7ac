package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/internal/cli/access"
	"github.com/coffer-vault/coffer/internal/cli/credscan"
	"github.com/coffer-vault/coffer/internal/cli/source"
)

// credential is a finding of coffer scan, as people and programs read it.
type credential struct {
	// Place is "FILE:LINE", with the commit in a history, or an object and its key.
	Place       string `json:"place"`
	File        string `json:"file,omitempty"`
	Line        int    `json:"line,omitempty"`
	Commit      string `json:"commit,omitempty"`
	Kind        string `json:"kind,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	Key         string `json:"key,omitempty"`
	Rule        string `json:"rule"`
	Description string `json:"description"`
	Fingerprint string `json:"fingerprint"`
	// Import is the command that brings it into the vault; empty when none can.
	Import string `json:"import,omitempty"`
}

// credentialsError says that there are credentials where none should be.
type credentialsError struct{ found int }

func (e *credentialsError) Error() string {
	return counted(e.found, "likely credential", "found")
}

// scanFlags are the flags of scan.
type scanFlags struct {
	history, cluster, all bool
	namespace             string
	kube                  kubeFlags
}

func (s *session) scan() *cobra.Command {
	var flags scanFlags
	cmd := &cobra.Command{
		Use:   "scan [DIR]",
		Short: "Find likely credentials in files, history and the cluster",
		Long: `Find likely credentials in the files of a folder (the current one when none is named), in
its git history with --history, or in the ConfigMaps and pod specs of the cluster with
--cluster: of workloads (Argo Rollouts, too, where there are any), of pods and ReplicaSets that
nothing else makes, and of debugging containers. It says where, by which rule, and never
what: the fingerprint is the same for the same value within one run, and tells nothing of
it. For what coffer import can read, the command that imports it is printed at the end.
Nothing is changed, and the vault is not asked.

The rules are those of gitleaks and two of ours. A line with gitleaks:allow in it is left
out. Archives, symbolic links and files over 32 MiB are not looked into. --history needs
git, and looks at all branches as far as they are about the folder; what is in a history
stays there, so rotate it. Ends with code 8 when something is found.`,
		Example: `  coffer scan
  coffer scan deploy --history -o json
  coffer scan --cluster -n payments`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("expected at most one folder, got %d arguments", len(args))
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.history, "history", false, "look at the git history of the folder, too")
	f.BoolVar(&flags.cluster, "cluster", false, "look at the ConfigMaps and pod specs of the cluster instead")
	f.StringVarP(&flags.namespace, "namespace", "n", "", "namespace to look at; that of the kubeconfig's context when not given")
	f.BoolVarP(&flags.all, "all-namespaces", "A", false, "look at all namespaces")
	flags.kube.bind(cmd)
	cmd.MarkFlagsMutuallyExclusive("namespace", "all-namespaces")
	cmd.MarkFlagsMutuallyExclusive("history", "cluster")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		switch {
		case flags.cluster && len(args) > 0:
			return usagef("--cluster looks at the cluster and at no folder; leave %s out", args[0])
		case !flags.cluster && (flags.namespace != "" || flags.all):
			return usagef("-n and -A are for --cluster")
		}
		return s.runScan(cmd, strings.Join(args, ""), &flags, output.value)
	})
	return cmd
}

func (s *session) runScan(cmd *cobra.Command, folder string, flags *scanFlags, output string) error {
	scanner, err := credscan.New()
	if err != nil {
		return err
	}
	var found []credential
	if flags.cluster {
		ctx, cancel := s.limit(cmd)
		defer cancel()
		found, err = s.scanClusterShown(ctx, scanner, flags)
	} else {
		if folder == "" {
			folder = "."
		}
		found, err = s.scanFolder(cmd.Context(), scanner, folder, flags.history)
	}
	if err != nil {
		return err
	}
	for _, skipped := range scanner.Skipped() {
		_, _ = fmt.Fprintln(s.err, "Not looked at: "+printable(skipped))
	}
	if err := s.printCredentials(found, output); err != nil {
		return err
	}
	if len(found) > 0 {
		return &credentialsError{len(found)}
	}
	return nil
}

// scanClusterShown is scanCluster, and shows how far it is.
func (s *session) scanClusterShown(ctx context.Context, scanner *credscan.Scanner, flags *scanFlags) ([]credential, error) {
	show := s.showProgress("scanning", "objects")
	defer show.end()
	c := &clusterScan{scanner: scanner, at: show.at}
	found, err := c.run(ctx, flags)
	if err != nil {
		return nil, err
	}
	show.end()
	for _, left := range c.left {
		_, _ = fmt.Fprintln(s.err, "Not looked at: "+printable(left))
	}
	return found, nil
}

func (s *session) scanFolder(ctx context.Context, scanner *credscan.Scanner, folder string, history bool) ([]credential, error) {
	files, err := s.scanFiles(ctx, scanner, folder)
	if err != nil {
		return nil, err
	}
	imports := importsOf(files)
	found := make([]credential, 0, len(files))
	for _, f := range files {
		c := credentialIn(f)
		c.Import = imports[f.File]
		found = append(found, c)
	}
	if !history {
		return found, nil
	}
	show := s.showProgress("scanning", "commits")
	defer show.end()
	commits, err := scanner.History(ctx, folder, show.at)
	if err != nil {
		return nil, err
	}
	for _, f := range commits {
		found = append(found, credentialIn(f))
	}
	return found, nil
}

// scanFiles is Folder of scanner, and shows how far it is.
func (s *session) scanFiles(ctx context.Context, scanner *credscan.Scanner, folder string) ([]credscan.Finding, error) {
	show := s.showProgress("scanning", "files")
	defer show.end()
	return scanner.Folder(ctx, folder, show.at)
}

// credentialIn is a finding in a file, or in a commit.
func credentialIn(f credscan.Finding) credential {
	const shortCommit = 12
	c := credential{
		Place: fmt.Sprintf("%s:%d", f.File, f.Line), File: f.File, Line: f.Line, Commit: f.Commit,
		Rule: f.Rule, Description: f.Description, Fingerprint: f.Fingerprint,
	}
	if f.Commit != "" {
		c.Place += " in " + f.Commit[:min(len(f.Commit), shortCommit)]
	}
	return c
}

// importsOf gives, for each file that import can read and that has keys with what was found,
// the command that imports them.
func importsOf(found []credscan.Finding) map[string]string {
	byFile := map[string][]credscan.Finding{}
	for _, f := range found {
		byFile[f.File] = append(byFile[f.File], f)
	}
	commands := map[string]string{}
	for file, findings := range byFile {
		if keys := importable(file, findings); len(keys) > 0 {
			commands[file] = "coffer import " + access.ShellWord(filepath.FromSlash(file)) + " --keys " + access.ShellWord(strings.Join(keys, ",")) + " --to PATH"
		}
	}
	return commands
}

// importable are the keys of the file that have what was found; none when import does not
// read the file.
func importable(file string, findings []credscan.Finding) []string {
	format := source.FormatOf(file)
	if format == "" {
		return nil
	}
	content, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil || len(content) > maxSourceBytes {
		return nil
	}
	defer clear(content)
	parsed, err := source.Parse(file, format, content, source.ReferencesKeep)
	if err != nil {
		return nil
	}
	var keys []string
	for _, one := range parsed.Sources {
		for _, e := range one.Entries {
			if slices.ContainsFunc(findings, func(f credscan.Finding) bool { return f.Holds(e.Value) }) {
				keys = append(keys, e.Key)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (s *session) printCredentials(found []credential, output string) error {
	return printAll(s, output, found, func(c credential) string { return c.Place }, func() error { return s.tableOfCredentials(found) })
}

func (s *session) tableOfCredentials(found []credential) error {
	if len(found) == 0 {
		return s.nothing("No credentials found", "")
	}
	rows := make([][]string, len(found))
	var commands []string
	for i, c := range found {
		rows[i] = []string{c.Place, c.Rule, c.Fingerprint, c.Description}
		if c.Import != "" && !slices.Contains(commands, c.Import) {
			commands = append(commands, c.Import)
		}
	}
	if err := table(s.out, []string{"PLACE", "RULE", "FINGERPRINT", "DESCRIPTION"}, rows); err != nil || len(commands) == 0 {
		return err
	}
	if _, err := fmt.Fprintln(s.out, "\nTo bring them into the vault:"); err != nil {
		return err
	}
	for _, command := range commands {
		if _, err := fmt.Fprintln(s.out, "  "+printable(command)); err != nil {
			return err
		}
	}
	return nil
}
