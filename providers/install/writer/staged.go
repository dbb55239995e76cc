package writer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"golang.org/x/sys/unix"
)

// staged takes all into memory, looks whether it is right, and only then begins.
func (s *session) staged(ctx context.Context) error {
	if err := s.checkMemory(); err != nil {
		return err
	}
	memory, err := pages(s.job.PackedBytes)
	if err != nil {
		return err
	}
	defer unix.Munmap(memory)
	s.tell.say(Event{Step: Ready})
	data := &dataReader{s: s}
	if _, err := io.ReadFull(data, memory); err != nil {
		return lost(err)
	}
	if err := data.end(); err != nil {
		return err
	}
	if err := s.verify(memory); err != nil {
		return err
	}
	s.tell.say(Event{Step: Received})
	if err := s.await(KindGo); err != nil {
		return err
	}
	if err := s.host.quiet(s.job.Disk); err != nil {
		return err
	}
	s.tell.say(Event{Step: Quiet})
	// From here on there is no way back, and nobody who could be asked.
	s.touched = true
	ctx = context.WithoutCancel(ctx)
	for try := 1; ; try++ {
		if err = s.replace(ctx, memory); err == nil || try == tries {
			return err
		}
	}
}

// tries is how often a disk that the running system was on is written: with it in
// this state the machine is lost.
const tries = 3

func (s *session) replace(ctx context.Context, packed []byte) error {
	if err := s.clear(ctx); err != nil {
		return err
	}
	if err := s.write(&byteReader{packed}); err != nil {
		return err
	}
	return s.check()
}

// memoryBytes is what is needed beside the packed image: this program with its
// buffers, the connection, and what the system reads meanwhile.
const memoryBytes = 64 * mib

func (s *session) checkMemory() error {
	have, err := s.host.available()
	if err != nil {
		return err
	}
	if need := s.job.PackedBytes + memoryBytes; have < need {
		return fmt.Errorf("the machine has %d MiB of memory to spare, and %d are needed to hold the image while its disk is written: stop services, or start the provider's rescue system and install from there", have/mib, need/mib)
	}
	return nil
}

// verify looks whether the packed image is the right one.
func (s *session) verify(packed []byte) error {
	sum := sha256.New()
	put := func(_ int64, data []byte) error { sum.Write(data); return nil }
	zero := func(_, n int64) error { hashZeros(sum, n); return nil }
	if err := unpack(&byteReader{packed}, s.job.ImageBytes, s.buf, put, zero); err != nil {
		return err
	}
	if got := hexSum(sum); got != s.job.SHA256 {
		return fmt.Errorf("the image arrived with the SHA-256 %s, not %s", got, s.job.SHA256)
	}
	return nil
}

var zeros [64 << 10]byte

func hashZeros(sum hash.Hash, n int64) {
	for n > 0 {
		p := zeros[:min(n, int64(len(zeros)))]
		sum.Write(p)
		n -= int64(len(p))
	}
}

func hexSum(sum hash.Hash) string { return fmt.Sprintf("%x", sum.Sum(nil)) }
