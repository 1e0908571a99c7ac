package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Limits of completion: it runs while someone waits with a finger on the key.
const (
	completionTimeout = 3 * time.Second
	completionItems   = 200
)

// completePath offers the paths that begin with what was typed and that the caller
// may list. What goes wrong offers nothing.
func (s *session) completePath(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	const nothingElse = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 {
		return nil, nothingElse
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	client, err := s.client(ctx)
	if err != nil {
		return nil, nothingElse
	}
	page, err := client.ListPage(ctx, typed[:strings.LastIndex(typed, "/")+1], "", completionItems)
	if err != nil {
		return nil, nothingElse
	}
	var offered []string
	for _, item := range page.Items {
		if strings.HasPrefix(item.Path, typed) {
			offered = append(offered, item.Path)
		}
	}
	return offered, nothingElse
}
