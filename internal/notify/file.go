package notify

import (
	"log/slog"
	"path/filepath"

	"github.com/coffer-vault/coffer/internal/configfile"
)

// Open reads the file that names the sinks, which may change while the process runs. Its error says what is wrong with it.
func Open(file string, logger *slog.Logger) (*configfile.File[*Config], error) {
	return configfile.Open(configfile.Options[*Config]{
		File: file, What: "the sinks of notifications (--notifications-config)", Logger: logger,
		Parse: func(content []byte, _ *Config) (*Config, error) { return parse(content, filepath.Dir(file)) },
	})
}
