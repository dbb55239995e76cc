package writer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// host is the machine, as far as the disk is not concerned. Tests have another one.
type host struct {
	// open opens a disk, and says where its partitions are.
	open func(path string, exclusive bool) (device, []span, error)
	// prepare looks whether the running system is on a disk and can be replaced.
	prepare func(path string) error
	// available is how much memory can be taken, in bytes.
	available func() (int64, error)
	// quiet stops everything else on the machine and makes its file systems
	// read-only; when it fails, all goes on as before.
	quiet func(path string) error
	end   func(Ending) error
	// patience is how long to wait for somebody who has seen the result.
	patience time.Duration
}

type device interface {
	disk
	Size() int64
	Close() error
}

// session is one installation.
type session struct {
	in      io.Reader
	tell    *teller
	host    host
	job     Job
	disk    device
	edges   []span
	patches []Patch
	buf     []byte // aligned for direct access, ChunkBytes
	touched bool
}

// Serve does one job, which it is told by in, and says on out how it goes. When it
// returns without having ended the machine, the job was done or the error says
// why not.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	return serve(ctx, in, out, thisHost())
}

func serve(ctx context.Context, in io.Reader, out io.Writer, h host) error {
	buf, err := pages(ChunkBytes)
	if err != nil {
		return err
	}
	defer unix.Munmap(buf)
	s := &session{in: in, tell: newTeller(out), host: h, buf: buf}
	defer s.tell.finish()
	if err := s.run(ctx); err != nil {
		s.tell.say(Event{Step: Failed, Error: err.Error(), Touched: s.touched})
		return err
	}
	return nil
}

// pages are bytes at an address that direct access to disks takes, outside of the
// heap.
func pages(n int64) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("%d MiB of memory: %w", n/mib, err)
	}
	return b, nil
}

func (s *session) run(ctx context.Context) error {
	if err := s.takeJob(); err != nil {
		return err
	}
	if s.job.Staged {
		// Before the disk is opened: this must be the running system's, whatever
		// else is wrong.
		if err := s.host.prepare(s.job.Disk); err != nil {
			return err
		}
	}
	if err := s.open(); err != nil {
		return err
	}
	defer s.disk.Close()
	work := s.stream
	if s.job.Staged {
		work = s.staged
	}
	if err := work(ctx); err != nil {
		return err
	}
	s.tell.say(Event{Step: Done})
	if s.job.Ending == Stay {
		return nil
	}
	s.awaitSeen()
	if !s.job.Staged {
		flushOthers()
	}
	if err := s.host.end(s.job.Ending); err != nil {
		return fmt.Errorf("the disk is written and read back, and the machine does not end: %w", err)
	}
	return nil
}

func (s *session) takeJob() error {
	kind, payload, err := receive(s.in, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(payload, &s.job); kind != KindJob || err != nil {
		return errors.Join(errors.New("this is no job"), err)
	}
	j := s.job
	switch {
	case j.Version != Version:
		return fmt.Errorf("the agent speaks version %d and \"ingot\" version %d: use those of one build", Version, j.Version)
	case j.ImageBytes <= 0 || j.ImageBytes%sectorBytes != 0 || j.PackedBytes <= 0:
		return fmt.Errorf("an image of %d bytes, %d when packed", j.ImageBytes, j.PackedBytes)
	case j.Ending != Restart && j.Ending != Off && (j.Ending != Stay || j.Staged):
		return fmt.Errorf("the machine cannot end with %q", j.Ending)
	}
	return nil
}

func (s *session) open() error {
	d, partitions, err := s.host.open(s.job.Disk, !s.job.Staged)
	if err != nil {
		return err
	}
	s.disk = d
	switch size := d.Size(); {
	case s.job.DiskBytes != 0 && size != s.job.DiskBytes:
		err = fmt.Errorf("%s has %d bytes, and the disk that was chosen %d: it is not the same", s.job.Disk, size, s.job.DiskBytes)
	case size < s.job.ImageBytes:
		err = fmt.Errorf("%s has %d bytes and the image %d", s.job.Disk, size, s.job.ImageBytes)
	}
	if err != nil {
		d.Close()
		return err
	}
	s.edges = edges(d.Size(), s.job.ImageBytes, partitions)
	return nil
}

// stream writes what arrives.
func (s *session) stream(ctx context.Context) error {
	s.touched = true
	if err := s.clear(ctx); err != nil {
		return err
	}
	s.tell.say(Event{Step: Ready})
	data := &dataReader{s: s}
	if err := s.write(data); err != nil {
		return err
	}
	if err := data.end(); err != nil {
		return err
	}
	s.tell.say(Event{Step: Received})
	if err := s.await(KindGo); err != nil {
		return err
	}
	return s.check()
}

func (s *session) clear(ctx context.Context) error {
	return clear(ctx, s.disk, s.disk.Size(), s.job.ImageBytes, s.edges, s.tell.progress)
}

func (s *session) write(packed io.Reader) error {
	put := func(offset int64, data []byte) error {
		if _, err := s.disk.WriteAt(data, offset); err != nil {
			return fmt.Errorf("write the disk at %d: %w", offset, err)
		}
		s.tell.progress(Event{Step: Writing, Done: offset + int64(len(data)), Of: s.job.ImageBytes})
		return nil
	}
	zero := func(offset, n int64) error {
		if err := s.disk.Zero(offset, n); err != nil {
			return fmt.Errorf("clear the disk at %d: %w", offset, err)
		}
		return nil
	}
	if err := unpack(packed, s.job.ImageBytes, s.buf, put, zero); err != nil {
		return err
	}
	err := s.disk.Flush()
	if err == nil {
		s.tell.progress(Event{Step: Writing, Done: s.job.ImageBytes, Of: s.job.ImageBytes})
	}
	return err
}

// check reads all back, and makes the last changes.
func (s *session) check() error {
	sum := sha256.New()
	for at := int64(0); at < s.job.ImageBytes; at += ChunkBytes {
		p := s.buf[:min(ChunkBytes, s.job.ImageBytes-at)]
		if _, err := s.disk.ReadAt(p, at); err != nil {
			return fmt.Errorf("read the disk at %d: %w", at, err)
		}
		sum.Write(p)
		s.tell.progress(Event{Step: Reading, Done: at + int64(len(p)), Of: s.job.ImageBytes})
	}
	got := hexSum(sum)
	if got != s.job.SHA256 {
		return fmt.Errorf("the disk does not keep what is written to it: it reads back with the SHA-256 %s, and the image has %s", got, s.job.SHA256)
	}
	if err := cleared(s.disk, s.edges, s.buf); err != nil {
		return err
	}
	s.tell.say(Event{Step: ReadBack, SHA256: got})
	return s.patch()
}

// awaitSeen gives whoever waits for it the time to see the result.
func (s *session) awaitSeen() {
	seen := make(chan struct{})
	go func() { defer close(seen); _ = s.await(KindSeen) }() // nobody there is an answer too
	s.tell.finish()
	select {
	case <-seen:
	case <-time.After(s.host.patience):
	}
}

// await reads one message of a kind.
func (s *session) await(want byte) error {
	kind, _, err := receive(s.in, nil)
	if err == nil && kind != want {
		err = fmt.Errorf("a message of kind %q, not %q", kind, want)
	}
	return err
}
