package writer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

const (
	testImageBytes = 5*mib + 512
	testDiskBytes  = 16 * mib
)

// memoryDisk is a disk full of garbage, which cannot discard. It can be broken.
type memoryDisk struct {
	data []byte
	// read and write change what passes, from the n-th call on; nil does nothing.
	read, write func(call int, p []byte)
	calls       struct{ read, write int }
	written     bool
	closed      bool
}

func newDisk() *memoryDisk {
	return &memoryDisk{data: bytes.Repeat([]byte("garbage "), testDiskBytes/8)}
}

func (d *memoryDisk) ReadAt(p []byte, offset int64) (int, error) {
	n := copy(p, d.data[offset:])
	d.calls.read++
	if d.read != nil {
		d.read(d.calls.read, p[:n])
	}
	return n, nil
}

func (d *memoryDisk) WriteAt(p []byte, offset int64) (int, error) {
	d.written = true
	n := copy(d.data[offset:], p)
	d.calls.write++
	if d.write != nil {
		d.write(d.calls.write, d.data[offset:offset+int64(n)])
	}
	return n, nil
}

func (d *memoryDisk) Zero(offset, n int64) error {
	d.written = true
	clear := d.data[offset : offset+n]
	for i := range clear {
		clear[i] = 0
	}
	return nil
}

func (d *memoryDisk) Discard(int64, int64) error { return errors.New("not supported") }
func (d *memoryDisk) Flush() error               { return nil }
func (d *memoryDisk) Size() int64                { return int64(len(d.data)) }
func (d *memoryDisk) Close() error               { d.closed = true; return nil }

// fakeHost is a machine that notes what is done to it.
type fakeHost struct {
	disk     *memoryDisk
	memory   int64
	failing  map[string]error // what fails, by its name
	done     []string
	opened   string
	wasAlone bool
}

func (f *fakeHost) do(what string) error {
	f.done = append(f.done, what)
	return f.failing[what]
}

func (f *fakeHost) host() host {
	return host{
		open: func(path string, exclusive bool) (device, []span, error) {
			f.opened, f.wasAlone = path, exclusive
			return f.disk, []span{{8 * mib, 3 * mib}}, f.do("open")
		},
		prepare:   func(string) error { return f.do("prepare") },
		available: func() (int64, error) { return f.memory, nil },
		quiet:     func(string) error { return f.do("quiet") },
		end:       func(e Ending) error { return f.do(string(e)) },
	}
}

// testImage has zeros at its beginning, in its middle and at its end.
func testImage() []byte {
	image := make([]byte, testImageBytes)
	for _, at := range []int{mib, 3*mib + 4096, 4 * mib} {
		_, _ = rand.Read(image[at : at+mib/2]) // never fails
	}
	return image
}

// pack is the same as the other half's, in records of a chunk.
func pack(t testing.TB, image []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(WindowBytes))
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(image); at += ChunkBytes {
		chunk := image[at:min(at+ChunkBytes, len(image))]
		if len(bytes.Trim(chunk, "\x00")) == 0 {
			continue
		}
		_, _ = z.Write(append(AppendRecord(nil, int64(at), len(chunk)), chunk...)) // into memory
	}
	_, _ = z.Write(AppendRecord(nil, int64(len(image)), 0))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// talk is one with the machine. send is called when the machine comes to a step; the
// connection ends when it returns false.
func talk(t *testing.T, h *fakeHost, job Job, send func(Step, io.Writer) bool) ([]Event, error) {
	t.Helper()
	in, toMachine := io.Pipe()
	fromMachine, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := serve(context.Background(), in, out, h.host())
		in.CloseWithError(errors.New("the machine has ended"))
		out.Close()
		ended <- err
	}()
	if err := SendJSON(toMachine, KindJob, job); err != nil {
		t.Fatal(err)
	}
	var events []Event
	lines := bufio.NewScanner(fromMachine)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
		if e.Of > 0 {
			continue
		}
		go func() { // a machine that gives up reads no more
			if !send(e.Step, toMachine) {
				toMachine.Close()
			}
		}()
	}
	return events, <-ended
}

// deliver sends an image as it should be.
func deliver(t *testing.T, packed []byte, patches ...Patch) func(Step, io.Writer) bool {
	return func(step Step, w io.Writer) bool {
		switch step {
		case Ready:
			for _, p := range patches {
				_ = SendJSON(w, KindPatch, p) // the machine may have ended
			}
			for piece := range slices.Chunk(packed, 100_000) {
				_ = Send(w, KindData, piece)
			}
			_ = Send(w, KindEnd, nil)
		case Received:
			_ = Send(w, KindGo, nil)
		case Done:
			_ = Send(w, KindSeen, nil)
		}
		return true
	}
}

func jobFor(image, packed []byte, staged bool) Job {
	return Job{
		Version: Version, Disk: "/dev/test", DiskBytes: testDiskBytes, Staged: staged, Ending: Restart,
		ImageBytes: int64(len(image)), SHA256: fmt.Sprintf("%x", sha256.Sum256(image)), PackedBytes: int64(len(packed)),
	}
}

func last(events []Event) Event { return events[len(events)-1] }

// A disk full of garbage becomes the image with its patch, and the edges behind it
// are zeros.
func TestServe(t *testing.T) {
	t.Parallel()
	image := testImage()
	packed := pack(t, image)
	patch := Patch{Offset: 2 * mib, Data: bytes.Repeat([]byte("secret! "), 2*mib/8)}
	for _, staged := range []bool{false, true} {
		t.Run(fmt.Sprintf("staged %v", staged), func(t *testing.T) {
			t.Parallel()
			h := &fakeHost{disk: newDisk(), memory: 1 << 30}
			job := jobFor(image, packed, staged)
			events, err := talk(t, h, job, deliver(t, packed, patch))
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"open", "restart"}
			if staged {
				want = []string{"prepare", "open", "quiet", "restart"}
			}
			if !slices.Equal(h.done, want) || h.opened != "/dev/test" || h.wasAlone == staged || !h.disk.closed {
				t.Errorf("%v on %s, exclusively %v; want %v", h.done, h.opened, h.wasAlone, want)
			}
			if !slices.ContainsFunc(events, func(e Event) bool { return e.Step == ReadBack && e.SHA256 == job.SHA256 }) || last(events).Step != Done {
				t.Errorf("events %v", events)
			}
			expected := bytes.Clone(image)
			copy(expected[patch.Offset:], patch.Data)
			if !bytes.Equal(h.disk.data[:len(image)], expected) {
				t.Error("the disk is not the image")
			}
			for _, edge := range []struct{ from, to int }{{testImageBytes, testImageBytes + mib}, {8 * mib, 9 * mib}, {10 * mib, 11 * mib}, {testDiskBytes - mib, testDiskBytes}} {
				if len(bytes.Trim(h.disk.data[edge.from:edge.to], "\x00")) > 0 {
					t.Errorf("bytes %d to %d are not cleared", edge.from, edge.to)
				}
			}
		})
	}
}

// Whatever goes wrong before the machine was told to go on leaves a disk that the
// running system is on as it was.
func TestStagedIsLeftAlone(t *testing.T) {
	t.Parallel()
	image := testImage()
	packed := pack(t, image)
	whole := deliver(t, packed)
	// until is a connection that ends when the machine comes to a step.
	until := func(end Step) func(Step, io.Writer) bool {
		return func(step Step, w io.Writer) bool { return step != end && whole(step, w) }
	}
	for name, c := range map[string]struct {
		change func(*Job, *fakeHost)
		send   func(Step, io.Writer) bool
		want   string
	}{
		"not the root's":      {func(_ *Job, h *fakeHost) { h.failing = map[string]error{"prepare": errors.New("not on it")} }, whole, "not on it"},
		"in use":              {func(_ *Job, h *fakeHost) { h.failing = map[string]error{"open": errors.New("busy")} }, whole, "busy"},
		"another size":        {func(j *Job, _ *fakeHost) { j.DiskBytes++ }, whole, "it is not the same"},
		"too large":           {func(j *Job, _ *fakeHost) { j.DiskBytes, j.ImageBytes = 0, testDiskBytes+512 }, whole, "and the image"},
		"odd":                 {func(j *Job, _ *fakeHost) { j.ImageBytes++ }, whole, "an image of"},
		"another version":     {func(j *Job, _ *fakeHost) { j.Version++ }, whole, "use those of one build"},
		"memory":              {func(_ *Job, h *fakeHost) { h.memory = memoryBytes }, whole, "of memory to spare"},
		"another image":       {func(j *Job, _ *fakeHost) { j.SHA256 = strings.Repeat("0", 64) }, whole, "the image arrived with the SHA-256"},
		"lost before":         {nil, until(Ready), "ended too early"},
		"lost at the end":     {nil, until(Received), "ended too early"},
		"cannot be quietened": {func(_ *Job, h *fakeHost) { h.failing = map[string]error{"quiet": errors.New("busy files")} }, whole, "busy files"},
		"lost in the middle": {nil, func(step Step, w io.Writer) bool {
			_ = Send(w, KindData, packed[:len(packed)/2])
			return false
		}, "ended too early"},
		"damaged": {nil, func(step Step, w io.Writer) bool {
			bad := bytes.Clone(packed)
			bad[len(bad)/2] ^= 1
			return deliver(t, bad)(step, w)
		}, ""},
		"too much":     {nil, deliver(t, append(bytes.Clone(packed), 0)), "more comes than was announced"},
		"too little":   {func(j *Job, _ *fakeHost) { j.PackedBytes++ }, whole, "ended too early"},
		"left running": {func(j *Job, _ *fakeHost) { j.Ending = Stay }, whole, "the machine cannot end with"},
		"no ending":    {func(j *Job, _ *fakeHost) { j.Ending = "" }, whole, "the machine cannot end with"},
		"no job":       {func(j *Job, _ *fakeHost) { j.PackedBytes = 0 }, whole, "an image of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &fakeHost{disk: newDisk(), memory: 1 << 30}
			job := jobFor(image, packed, true)
			if c.change != nil {
				c.change(&job, h)
			}
			events, err := talk(t, h, job, c.send)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
			if e := last(events); e.Step != Failed || e.Touched || e.Error == "" {
				t.Errorf("it ends with %+v", e)
			}
			if h.disk.written || slices.Contains(h.done, "restart") {
				t.Errorf("written %v, %v", h.disk.written, h.done)
			}
		})
	}
}

// A disk that does not keep what is written to it is found out, and the machine is
// not restarted into it.
func TestBadDisk(t *testing.T) {
	t.Parallel()
	image := testImage()
	packed := pack(t, image)
	flip := func(n int) func(int, []byte) {
		return func(call int, p []byte) {
			if call == n {
				p[len(p)/2] ^= 1
			}
		}
	}
	always := func(_ int, p []byte) { p[len(p)/2] ^= 1 }
	const reads = 6 // of an image of so many chunks
	patch := Patch{Offset: mib, Data: make([]byte, 4096)}
	for name, c := range map[string]struct {
		staged      bool
		read, write func(int, []byte)
		want        string // empty is success
	}{
		"reads":                    {false, flip(3), nil, "it reads back with the SHA-256"},
		"writes":                   {false, nil, flip(2), "it reads back with the SHA-256"},
		"edges":                    {false, flip(reads + 1), nil, "zeros at"},
		"patch":                    {false, flip(reads + 5), nil, "the instance config at"},
		"staged":                   {true, always, nil, "it reads back with the SHA-256"},
		"staged, the second write": {true, nil, flip(2), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &fakeHost{disk: newDisk(), memory: 1 << 30}
			h.disk.read, h.disk.write = c.read, c.write
			events, err := talk(t, h, jobFor(image, packed, c.staged), deliver(t, packed, patch))
			restarted := slices.Contains(h.done, "restart")
			if c.want == "" {
				if err != nil || !restarted {
					t.Errorf("%v, %v", err, h.done)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
			if e := last(events); e.Step != Failed || !e.Touched {
				t.Errorf("it ends with %+v", e)
			}
			if restarted {
				t.Error("it restarts into what is on the disk")
			}
		})
	}
}

// Once it was told to go on, it goes on without anybody at the other end, who may
// even not take what it says.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	image := testImage()
	packed := pack(t, image)
	h := &fakeHost{disk: newDisk(), memory: 1 << 30}
	var in bytes.Buffer
	for _, send := range []func() error{
		func() error { return SendJSON(&in, KindJob, jobFor(image, packed, true)) },
		func() error { return Send(&in, KindData, packed) },
		func() error { return Send(&in, KindEnd, nil) },
		func() error { return Send(&in, KindGo, nil) },
	} {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	if err := serve(t.Context(), &in, broken{}, h.host()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(h.done, "restart") || !bytes.Equal(h.disk.data[:len(image)], image) {
		t.Errorf("%v", h.done)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// A machine that does not restart is told of, after all else was.
func TestEndFails(t *testing.T) {
	t.Parallel()
	image := testImage()
	packed := pack(t, image)
	h := &fakeHost{disk: newDisk(), memory: 1 << 40, failing: map[string]error{string(Restart): errors.New("operation not permitted")}}
	var in bytes.Buffer
	err := errors.Join(SendJSON(&in, KindJob, jobFor(image, packed, false)), Send(&in, KindData, packed), Send(&in, KindEnd, nil), Send(&in, KindGo, nil), Send(&in, KindSeen, nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := serve(t.Context(), &in, io.Discard, h.host()); err == nil || !strings.Contains(err.Error(), "does not end: operation not permitted") {
		t.Errorf("it says %v", err)
	}
}
