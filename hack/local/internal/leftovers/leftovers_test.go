package leftovers_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/hack/local/internal/leftovers"
)

const node = "/home/me/coffer/.local/node"

func machine(t *testing.T, files map[string]string) leftovers.Machine {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return leftovers.Machine{Root: root}
}

func TestFind(t *testing.T) {
	const root = "21 1 254:0 / / rw - ext4 /dev/vda rw\n"
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{
			name: "nothing of ours",
			files: map[string]string{
				"proc/self/mountinfo":           root,
				"proc/7/cmdline":                "/usr/bin/redis-server\x00*:6379\x00",
				"proc/8/cmdline":                "kubelet\x00--root-dir=/run/coffer\x00", // of another checkout
				"proc/8/mountinfo":              root + "30 21 254:0 /srv/other/.local/node /run/coffer rw - ext4 /dev/vda rw\n",
				"sys/class/net/coffer0/ifalias": "/srv/other/.local/node\n",
			},
		},
		{
			name: "a process of this machine",
			files: map[string]string{
				"proc/self/mountinfo": root,
				"proc/7/cmdline":      "/cache/etcd\x00--data-dir=" + node + "/etcd\x00",
			},
			want: []string{"process 7 (/cache/etcd)"},
		},
		{
			name: "a process in the sandbox, on a file system of its own",
			files: map[string]string{
				"proc/self/mountinfo": root,
				"proc/9/cmdline":      "/pause\x00",
				"proc/9/mountinfo":    "30 21 254:1 /me/coffer/.local/node /run/coffer rw - ext4 /dev/vdb rw\n",
			},
			want: []string{"process 9 (/pause)"},
		},
		{
			name:  "a mount",
			files: map[string]string{"proc/self/mountinfo": root + "30 21 0:40 / " + node + "/kubelet/pods/x rw - tmpfs tmpfs rw\n"},
			want:  []string{"mount " + node + "/kubelet/pods/x"},
		},
		{
			name:  "the cable",
			files: map[string]string{"proc/self/mountinfo": root, "sys/class/net/coffer0/ifalias": node + "\n"},
			want:  []string{"network interface coffer0"},
		},
		{name: "a system without /proc"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := machine(t, tc.files).Find(node, "coffer0")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
