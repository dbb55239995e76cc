package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// claim is a lock on a file or a folder that the kernel drops when this process
// ends, however it ends. It is a bare descriptor: an os.File would close itself
// once nobody looks at it.
type claim int

func (c claim) drop() { unix.Close(int(c)) }

// How a claim is held.
const (
	shared = unix.LOCK_SH // with others that use the same
	alone  = unix.LOCK_EX
)

// errBusy says that somebody else holds what was to be claimed.
var errBusy = errors.New("it is in use")

// openFile opens a lock file, which is made when it is missing.
func openFile(file string) (claim, error) {
	fd, err := unix.Open(file, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return 0, &fs.PathError{Op: "open", Path: file, Err: err}
	}
	return claim(fd), nil
}

// openFolder opens a folder, which is its own lock.
func openFolder(dir string) (claim, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return claim(fd), nil
}

type opener func(string) (claim, error)

// try claims a file or folder if nobody is in the way, or fails with errBusy.
func try(open opener, name string, how int) (claim, error) {
	for {
		c, err := open(name)
		if err != nil {
			return 0, err
		}
		ok, err := c.hold(name, how)
		if ok {
			return c, nil
		}
		c.drop()
		if err != nil {
			return 0, err
		}
	}
}

// await claims a file or folder, waiting until nobody is in the way.
func await(ctx context.Context, open opener, name string, how int) (claim, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	c, err := open(name)
	for err == nil {
		var ok bool
		switch ok, err = c.hold(name, how); {
		case ok:
			return c, nil
		case err == nil: // under another one's name
			c.drop()
			c, err = open(name)
		case errors.Is(err, errBusy):
			select {
			case <-ctx.Done():
				c.drop()
				return 0, ctx.Err()
			case <-tick.C:
				err = nil
			}
		default:
			c.drop()
		}
	}
	return 0, err
}

// hold locks what c is open on. It is false without an error when the name is
// another file's by now: whoever prunes removes lock files, too, and a lock on
// one without a name keeps nobody out.
func (c claim) hold(name string, how int) (bool, error) {
	err := unix.Flock(int(c), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, errBusy
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", name, err)
	}
	var open, named unix.Stat_t
	if err := unix.Fstat(int(c), &open); err != nil {
		return false, fmt.Errorf("lock %s: %w", name, err)
	}
	return unix.Stat(name, &named) == nil && named.Ino == open.Ino && named.Dev == open.Dev, nil
}

// lockFile claims a lock file alone, waiting for it.
func lockFile(ctx context.Context, file string) (func(), error) {
	c, err := await(ctx, openFile, file, alone)
	if err != nil {
		return nil, err
	}
	return c.drop, nil
}

// holds are this process's shared claims on what it uses of the cache. It keeps
// them until it ends: nothing is pruned under a machine that runs from it.
type holds struct {
	mu     sync.Mutex
	claims map[string]claim
}

func (h *holds) share(ctx context.Context, open opener, name string) error {
	h.mu.Lock()
	_, held := h.claims[name]
	h.mu.Unlock()
	if held {
		return nil
	}
	c, err := await(ctx, open, name, shared)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, held := h.claims[name]; held { // by another goroutine meanwhile
		c.drop()
		return nil
	}
	h.claims[name] = c
	return nil
}

func (h *holds) drop(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c, held := h.claims[name]; held {
		c.drop()
		delete(h.claims, name)
	}
}
