package cli

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/internal/version"
)

// build is what this program is.
type build struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (s *session) version() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version of this program", Args: noArgs}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatRaw)
	cmd.RunE = s.do(func(*cobra.Command, []string) error {
		b := build{version.String(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
		return s.print(output.value, result{data: b, raw: b.Version, text: s.line("coffer %s (%s, %s)", b.Version, b.Go, b.Platform)})
	})
	return cmd
}
