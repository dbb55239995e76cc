package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// folder is what the cache remembers of the last build of an output folder. The
// file may be lost at any time: the next build then does a little more.
type folder struct {
	Out    string            `json:"folder"`
	Image  published         `json:"image"`
	Stages map[string]inputs `json:"stages"` // by their names

	file string
	was  []byte // the file's content
}

// published is an image as it was put into its folder. A program that writes to
// it changes Modified, and one that hides this changes Changed, which no program
// can set.
type published struct {
	Key      string `json:"key"` // of its inputs
	SHA256   string `json:"sha256"`
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
	Bytes    int64  `json:"bytes"`
	Modified int64  `json:"modified"` // in nanoseconds since 1970
	Changed  int64  `json:"changed"`
}

// folder reads what is known of an output folder, nothing if it is new.
func (c Cache) folder(out string) (folder, error) {
	out, err := filepath.Abs(out)
	if err != nil {
		return folder{}, err
	}
	if out, err = filepath.EvalSymlinks(out); err != nil {
		return folder{}, err
	}
	sum := sha256.Sum256([]byte(out))
	f := folder{Out: out, file: filepath.Join(c.Dir, "folders", hex.EncodeToString(sum[:16])+".json")}
	if f.was, err = os.ReadFile(f.file); err != nil {
		return f, nil
	}
	known := f
	if json.Unmarshal(f.was, &known) != nil || known.Out != out {
		return f, nil
	}
	return known, nil
}

// remember writes what is to be known next time.
func (f folder) remember() error {
	b, err := json.Marshal(f)
	if err != nil || bytes.Equal(b, f.was) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.file), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(f.file, b, 0o644)
}

// stateOf is an image's state now; its key and its content are what the caller
// knows.
func stateOf(image, key, sha256 string) (published, error) {
	var st unix.Stat_t
	if err := unix.Lstat(image, &st); err != nil {
		return published{}, &os.PathError{Op: "stat", Path: image, Err: err}
	}
	return published{key, sha256, st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}, nil
}

// is reports whether the image that was published is there, untouched, and was
// made from these inputs.
func (p published) is(image, key string) bool {
	now, err := stateOf(image, key, p.SHA256)
	return err == nil && now == p
}

// back is how far the time of a published image lies before its making, so that
// a change in the next moment has another time whatever the clock of the file
// system ticks in: FAT has 2 s.
const back = 10 * time.Second
