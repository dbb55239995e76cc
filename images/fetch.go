package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ingot/fault"
)

// debs is the store of downloaded packages, named by their SHA-256.
type debs struct{ dir string }

func (d debs) path(p Package) string { return filepath.Join(d.dir, p.SHA256+".deb") }

// parallelDownloads keeps a mirror busy without being rude to it.
const parallelDownloads = 6

// fetch downloads what is missing. A file appears under its digest only when
// its bytes have that digest.
func (d debs) fetch(ctx context.Context, mirror string, packages []Package, progress func(done, total int64)) error {
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	var missing []Package
	var total int64
	for _, p := range packages {
		info, err := os.Stat(d.path(p))
		if err != nil || info.Size() != p.Size {
			missing = append(missing, p)
			total += p.Size
			continue
		}
		now := time.Now()
		_ = os.Chtimes(d.path(p), now, now) // for pruning by age
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelDownloads)
	var done atomic.Int64
	for _, p := range missing {
		group.Go(func() error {
			if err := d.fetchOne(ctx, mirror, p); err != nil {
				return err
			}
			progress(done.Add(p.Size), total)
			return nil
		})
	}
	return group.Wait()
}

// newestPackage is when the newest package was built, in seconds since 1970:
// the time stamp in the header of a .deb's first member (deb(5), ar format).
func newestPackage(d debs, packages []Package) (int64, error) {
	const stampAt, stampLen = 8 + 16, 12
	var newest int64
	for _, p := range packages {
		f, err := os.Open(d.path(p))
		if err != nil {
			return 0, err
		}
		stamp := make([]byte, stampLen)
		_, err = f.ReadAt(stamp, stampAt)
		f.Close()
		if err != nil {
			return 0, err
		}
		t, err := strconv.ParseInt(strings.TrimSpace(string(stamp)), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s has no build time: %w", p.Name, err)
		}
		newest = max(newest, t)
	}
	return newest, nil
}

// downloadTime ends a download that stalls: the largest of today's packages,
// 35 MB, takes this long at 58 kB/s.
const downloadTime = 10 * time.Minute

// downloadTries covers a mirror's passing fault.
const downloadTries = 3

func (d debs) fetchOne(ctx context.Context, mirror string, p Package) error {
	var err error
	for try := range downloadTries {
		err = d.try(ctx, mirror, p)
		if err == nil || ctx.Err() != nil || errors.Is(err, errGone) || try == downloadTries-1 {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(try+1) * time.Second):
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fault.Machine(fmt.Errorf("%s %s: %w", p.Name, p.Version, err))
	}
	return nil
}

var errGone = errors.New("the mirror no longer has this version; a security update replaced it: run \"ingot lock\" for the present ones")

func (d debs) try(ctx context.Context, mirror string, p Package) error {
	segments := strings.Split(p.Path, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(mirror, "/")+"/"+strings.Join(segments, "/"), nil)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: downloadTime}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("the mirror cannot be reached: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return errGone
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the mirror answered %s", resp.Status)
	}
	return d.store(resp.Body, p)
}

// downloadPrefix begins the names of unfinished downloads.
const downloadPrefix = ".download-"

// begin makes the file of a download, which is this process's while it is open.
func (d debs) begin() (*os.File, error) {
	gate, err := await(context.Background(), openFolder, d.dir, shared)
	if err != nil {
		return nil, err
	}
	defer gate.drop()
	f, err := os.CreateTemp(d.dir, downloadPrefix+"*")
	if err != nil {
		return nil, err
	}
	return f, unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

// store writes the package under a temporary name and renames it when its
// digest is right and it is on the disk.
func (d debs) store(body io.Reader, p Package) error {
	tmp, err := d.begin()
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(tmp, sum), io.LimitReader(body, p.Size+1)); err != nil {
		return fmt.Errorf("the download broke off: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != p.SHA256 {
		return fmt.Errorf("the mirror sent other bytes than the lock names (SHA-256 %s, not %s)", got, p.SHA256)
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write the package to the disk: %w", err)
	}
	return os.Rename(tmp.Name(), d.path(p))
}
