package sbom

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// UsedInInitrd are the packages of a tree that the files of an initrd, which was
// made from it, belong to. It is sorted.
func UsedInInitrd(initrd, tree string) ([]string, error) {
	f, err := os.Open(initrd)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	archive, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("read the initrd: %w", err)
	}
	defer archive.Close()
	files, err := cpioFiles(archive)
	if err != nil {
		return nil, fmt.Errorf("read the initrd: %w", err)
	}
	owners, err := owners(tree)
	if err != nil {
		return nil, err
	}
	var used []string
	for _, file := range files {
		used = append(used, owners[merged(file)]...)
	}
	slices.Sort(used)
	return slices.Compact(used), nil
}

// owners are the packages of a tree by the files that they brought, as dpkg has
// it.
func owners(tree string) (map[string][]string, error) {
	lists, err := filepath.Glob(filepath.Join(tree, "var/lib/dpkg/info/*.list"))
	if err != nil {
		return nil, err
	}
	if len(lists) == 0 {
		return nil, fmt.Errorf("%s has no lists of packages' files", tree)
	}
	owners := map[string][]string{}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			return nil, err
		}
		name, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(list), ".list"), ":") // name:arch
		for file := range strings.Lines(string(text)) {
			file = merged(strings.TrimSpace(file))
			owners[file] = append(owners[file], name)
		}
	}
	return owners, nil
}

// merged is a path as it is since /bin, /lib and /sbin lead into /usr.
func merged(file string) string {
	file = strings.TrimPrefix(path.Clean("/"+file), "/")
	for _, dir := range []string{"bin/", "lib/", "lib64/", "sbin/"} {
		if strings.HasPrefix(file, dir) {
			return "usr/" + file
		}
	}
	return file
}

// The header of a file in an archive of the kind "newc": a magic and 13 numbers
// of 8 hex digits, cpio(5).
const (
	cpioHeader   = 110
	cpioMode     = 6 + 8*1
	cpioSize     = 6 + 8*6
	cpioNameSize = 6 + 8*11
	cpioMaxName  = 4096 // PATH_MAX
	cpioTypeMask = 0o170000
	cpioRegular  = 0o100000
)

// cpioFiles are the paths of the regular files in an archive, but for empty ones.
func cpioFiles(archive io.Reader) ([]string, error) {
	r := &counting{r: bufio.NewReader(archive)}
	var files []string
	for {
		header := make([]byte, cpioHeader)
		if _, err := io.ReadFull(r, header); err != nil {
			return nil, fmt.Errorf("it has no end: %w", err)
		}
		if magic := string(header[:6]); magic != "070701" && magic != "070702" {
			return nil, errors.New("it is not a cpio archive")
		}
		number := func(at int) int64 {
			n, err := strconv.ParseUint(string(header[at:at+8]), 16, 32)
			if err != nil {
				return -1
			}
			return int64(n)
		}
		mode, size, length := number(cpioMode), number(cpioSize), number(cpioNameSize)
		if mode < 0 || size < 0 || length < 1 || length > cpioMaxName {
			return nil, errors.New("it has a broken header")
		}
		name := make([]byte, length)
		if _, err := io.ReadFull(r, name); err != nil {
			return nil, fmt.Errorf("it breaks off: %w", err)
		}
		file := strings.TrimRight(string(name), "\x00")
		if file == "TRAILER!!!" {
			return files, nil
		}
		if mode&cpioTypeMask == cpioRegular && size > 0 && fs.ValidPath(path.Clean(file)) {
			files = append(files, file)
		}
		// Names and contents are padded to multiples of 4.
		skip := -r.n & 3
		skip += size + (-size)&3
		if _, err := io.CopyN(io.Discard, r, skip); err != nil {
			return nil, fmt.Errorf("it breaks off: %w", err)
		}
	}
}

// counting counts what was read.
type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
