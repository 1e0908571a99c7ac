// Package layout says where the local environment keeps what, and remembers how it was started.
package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// module is the first line of the repository's go.mod.
const module = "module github.com/coffer-vault/coffer\n"

// Layout is the places of one checkout's environment, as this machine sees them.
type Layout struct {
	// Root of the repository.
	Root string
}

// Find returns the layout of the checkout the working directory is in.
func Find() (Layout, error) {
	start, err := os.Getwd()
	if err != nil {
		return Layout{}, fmt.Errorf("finding the repository: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), module) {
			return Layout{Root: dir}, nil
		}
		if dir == filepath.Dir(dir) {
			return Layout{}, fmt.Errorf("%s is not in a checkout of Coffer: change into one", start)
		}
	}
}

// Local is the scratch folder. Git ignores it.
func (l Layout) Local() string { return filepath.Join(l.Root, ".local") }

// Bin holds the programs a person uses: kubectl and coffer.
func (l Layout) Bin() string { return filepath.Join(l.Local(), "bin") }

// Images holds the archives of the container images.
func (l Layout) Images() string { return filepath.Join(l.Local(), "images") }

// EnvFile is a shell script of export lines.
func (l Layout) EnvFile() string { return filepath.Join(l.Local(), "env") }

// Node is everything of a running cluster; it goes when that stops.
func (l Layout) Node() string { return filepath.Join(l.Local(), "node") }

// Kubeconfig is the administrator's.
func (l Layout) Kubeconfig() string { return filepath.Join(l.Local(), "kubeconfig") }

// CofferCA is the authority of the certificate of Coffer's API.
func (l Layout) CofferCA() string { return filepath.Join(l.Local(), "coffer-ca.crt") }

// Logs are the logs of the cluster's programs.
func (l Layout) Logs() string { return filepath.Join(l.Node(), "run") }

// Alive is locked for as long as the cluster runs.
func (l Layout) Alive() string { return filepath.Join(l.Local(), "alive.lock") }

func (l Layout) stateFile() string { return filepath.Join(l.Local(), "state.json") }

// Mode is what kind of environment runs.
type Mode string

const (
	// ModeNode is a control plane and a node: pods run.
	ModeNode Mode = "node"
	// ModeControlPlane is a control plane alone: no pods; Coffer is a process of this machine.
	ModeControlPlane Mode = "control-plane"
)

// State is what later commands must know of a running environment. It holds passwords: its file is the owner's alone.
type State struct {
	Mode Mode `json:"mode"`
	// Pid is the process to end the environment by.
	Pid int `json:"pid"`
	// ControlSocket is where the supervisor of the programs listens.
	ControlSocket string `json:"controlSocket"`
	// Address is that of the control plane, Postgres and Redis, for this machine and for pods.
	Address string `json:"address"`
	// Ports by program.
	Ports map[string]int `json:"ports"`
	// Passwords of Postgres and Redis.
	PostgresPassword string `json:"postgresPassword"`
	RedisPassword    string `json:"redisPassword"`
	// RootKey is the text of Coffer's key file.
	RootKey string `json:"rootKey"`
	// Images are the digests of the images imported, by reference.
	Images map[string]string `json:"images,omitempty"`
	// Started is whether all programs once ran: what an unfinished start leaves is worth nothing.
	Started bool `json:"started"`
	// Ready is whether Coffer has once been installed and answered.
	Ready bool `json:"ready"`
}

// ErrNoState says that no environment has been started here.
var ErrNoState = errors.New("the local environment is not running: start it with make up")

// LoadState reads what Save wrote. The error is ErrNoState when there is nothing.
func (l Layout) LoadState() (*State, error) {
	text, err := os.ReadFile(l.stateFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoState
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state of the local environment: %w", err)
	}
	var s State
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("the state of the local environment in %s is damaged (make down clears it): %w", l.stateFile(), err)
	}
	return &s, nil
}

// Save replaces the state file as a whole.
func (l Layout) Save(s *State) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the state of the local environment: %w", err)
	}
	scratch := l.stateFile() + ".new"
	if err := os.WriteFile(scratch, text, 0o600); err != nil {
		return fmt.Errorf("writing the state of the local environment: %w", err)
	}
	if err := os.Rename(scratch, l.stateFile()); err != nil {
		return fmt.Errorf("writing the state of the local environment: %w", err)
	}
	return nil
}

// Forget removes everything that belongs to a running environment, and leaves what builds left.
func (l Layout) Forget() error {
	var errs []error
	for _, path := range []string{l.Node(), l.stateFile(), l.EnvFile(), l.Kubeconfig(), l.CofferCA()} {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}
