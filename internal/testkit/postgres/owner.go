package postgres

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the system user PostgreSQL runs as when we are root, which it refuses to be. Its package creates it.
const account = "postgres"

// owner is who runs a server: nil for ourselves.
type owner struct{ uid, gid int }

// serverOwner is the account to run PostgreSQL as, nil when this program's own will do.
func serverOwner() (*owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(account)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root and there is no user %q to run it: apt-get install postgresql makes one: %w", account, err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if uidErr != nil || gidErr != nil {
		return nil, fmt.Errorf("user %q has ids %q and %q, which are no numbers", account, u.Uid, u.Gid)
	}
	return &owner{uid: uid, gid: gid}, nil
}

// attr makes a child run as o, and lets it reach dir.
func (o *owner) attr(dir string) *syscall.SysProcAttr {
	if o == nil {
		return &syscall.SysProcAttr{}
	}
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}}
	if !reachable(dir) {
		allowReach(attr)
	}
	return attr
}

// give makes path o's.
func (o *owner) give(path string) error {
	if o == nil {
		return nil
	}
	return os.Chown(path, o.uid, o.gid)
}

// reachable reports whether every directory above dir may be entered by everyone. A checkout in root's home may not.
func reachable(dir string) bool {
	for d := filepath.Dir(dir); ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if d == filepath.Dir(d) {
			return true
		}
	}
}
