// Command reference writes the reference of the command line, one page of Markdown,
// to the file that it is given.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/coffer-vault/coffer/internal/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: reference FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], page(), 0o644); err != nil { //nolint:gosec // documentation is for everyone
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const preface = `# Command line

<!-- Written by make generate from the commands themselves. -->

Flags win over environment variables, those over what a pod has, and that over what ` + "`coffer login`" + ` remembers. A token is never a
flag: command lines are seen by others.

| variable | means |
|---|---|
| ` + "`COFFER_ADDR`" + ` | URL of the server |
| ` + "`COFFER_TOKEN`" + ` | bearer token for Coffer's audience |
| ` + "`COFFER_TOKEN_FILE`" + ` | file with the token; read when ` + "`COFFER_TOKEN`" + ` is not set |
| ` + "`COFFER_CACERT`" + ` | file of certificates to trust |
| ` + "`KUBECONFIG`" + ` | kubeconfig that gives a token when no other is given |
| ` + "`XDG_CONFIG_HOME`" + ` | folder in which ` + "`coffer/config.yaml`" + ` has the logins; ` + "`~/.config`" + ` when not set |

Installed under the name ` + "`kubectl-coffer`" + ` the program is a plugin: ` + "`kubectl coffer get …`" + `. Under the name
` + "`kubectl_complete-coffer`" + ` it completes for kubectl's own completion. Links do.
`

func page() []byte {
	root := cli.Root()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var b bytes.Buffer
	b.WriteString(preface)
	describe(&b, root)
	return b.Bytes()
}

// describe writes one command and those below it.
func describe(b *bytes.Buffer, cmd *cobra.Command) {
	if cmd.Name() == "completion" || cmd.Name() == "help" {
		return // they are cobra's, and describe themselves
	}
	fmt.Fprintf(b, "\n## %s\n\n", cmd.CommandPath())
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	// A list is a block of its own.
	text, codes, found := strings.Cut(text, cli.ExitCodes)
	b.WriteString(strings.TrimSpace(text) + "\n")
	if found {
		block(b, "text", cli.ExitCodes+codes)
	}
	if cmd.Runnable() && !cmd.HasSubCommands() {
		block(b, "text", cmd.UseLine())
	}
	if cmd.Example != "" {
		block(b, "sh", unindent(cmd.Example))
	}
	cmd.InitDefaultHelpFlag()
	flags(b, cmd)
	for _, child := range cmd.Commands() {
		describe(b, child)
	}
}

func block(b *bytes.Buffer, language, text string) {
	fmt.Fprintf(b, "\n```%s\n%s\n```\n", language, strings.TrimRight(text, "\n"))
}

func unindent(s string) string {
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		lines = append(lines, strings.TrimPrefix(line, "  "))
	}
	return strings.Join(lines, "\n")
}

// escape keeps text from being read as Markdown.
var escape = strings.NewReplacer("|", `\|`, "*", `\*`)

// flags writes the flags that the command brings along.
func flags(b *bytes.Buffer, cmd *cobra.Command) {
	rows := ""
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Hidden {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		kind, usage := pflag.UnquoteUsage(f)
		rows += fmt.Sprintf("| `%s` | %s | %s |\n", strings.TrimSpace(name+" "+kind), escape.Replace(usage), defaultOf(f))
	})
	if rows != "" {
		b.WriteString("\n| flag | means | default |\n|---|---|---|\n" + rows)
	}
}

func defaultOf(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "[]", "0":
		return ""
	}
	return "`" + f.DefValue + "`"
}
