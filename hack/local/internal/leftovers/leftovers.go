// Package leftovers looks for what a local environment may have left on the machine after it was stopped.
package leftovers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Machine is where to look: the root of the file system, but for tests.
type Machine struct{ Root string }

// Find lists, in words, everything that still belongs to the environment whose node has the folder node: processes,
// mounts, and the network interface link.
func (m Machine) Find(node, link string) ([]string, error) {
	processes, err := m.processes(node)
	if err != nil {
		return nil, err
	}
	mounts, err := m.mounts(node)
	if err != nil {
		return nil, err
	}
	found := slices.Concat(processes, mounts)
	alias, err := os.ReadFile(filepath.Join(m.Root, "sys/class/net", link, "ifalias"))
	if err == nil && strings.TrimSpace(string(alias)) == node {
		found = append(found, "network interface "+link)
	}
	return found, nil
}

// processes are those that have the node's folder, by its own name or by the one it has inside the sandbox, in their
// command line.
func (m Machine) processes(node string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(m.Root, "proc/[0-9]*/cmdline"))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		line := strings.ReplaceAll(strings.TrimRight(string(text), "\x00"), "\x00", " ")
		if strings.Contains(line, node+"/") || m.insideOf(filepath.Dir(file), node) {
			program, _, _ := strings.Cut(line, " ")
			found = append(found, fmt.Sprintf("process %s (%s)", filepath.Base(filepath.Dir(file)), program))
		}
	}
	return found, nil
}

// insideOf reports whether a process has the node's folder mounted in its own view of the file system: then it is, or
// was started by, the sandbox.
func (m Machine) insideOf(process, node string) bool {
	lines, err := mountLines(filepath.Join(process, "mountinfo"))
	if err != nil {
		return false // it has ended, or is a thread of the kernel
	}
	for _, fields := range lines {
		if fields[4] == "/run/coffer" && strings.HasSuffix(node, fields[3]) {
			return true
		}
	}
	return false
}

// mounts are those below the node's folder that this process sees.
func (m Machine) mounts(node string) ([]string, error) {
	lines, err := mountLines(filepath.Join(m.Root, "proc/self/mountinfo"))
	if errors.Is(err, os.ErrNotExist) { // not Linux
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for mounts: %w", err)
	}
	var found []string
	for _, fields := range lines {
		if strings.HasPrefix(fields[4], node+"/") {
			found = append(found, "mount "+fields[4])
		}
	}
	return found, nil
}

// mountLines are the lines of a mountinfo file, in fields: the fourth (counted from one) is the folder of the file
// system that is mounted, the fifth where. See proc_pid_mountinfo(5).
func mountLines(file string) ([][]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var lines [][]string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			lines = append(lines, fields)
		}
	}
	return lines, nil
}
