package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxConfig bounds an instance config: far above any provider's user-data
// limit (the largest is 256 KiB), far below the machine's memory.
const maxConfig = 4 << 20

// source is one place an instance config may come from.
type source struct {
	name string
	path string
}

// localSources are the places that need no network, best first.
func localSources() []source {
	return []source{
		{"QEMU fw_cfg opt/com.coreos/config", "/sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/raw"},
	}
}

// found is an instance config and the record of the search for it.
type found struct {
	config []byte   // nil when there is none
	source string   // where config came from
	tried  []string // one line for each place that had none, and why
}

// findConfig reads the first source that has a config.
func findConfig(sources []source) found {
	var f found
	for _, s := range sources {
		b, err := readBounded(s.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			f.tried = append(f.tried, s.name+": not present")
		case err != nil:
			f.tried = append(f.tried, fmt.Sprintf("%s: %v", s.name, err))
		case len(strings.TrimSpace(string(b))) == 0:
			f.tried = append(f.tried, s.name+": empty")
		default:
			f.config, f.source = b, s.name
			return f
		}
	}
	return f
}

// readBounded reads a regular file of at most maxConfig bytes. It does not wait
// for a writer when root left a named pipe in its place.
func readBounded(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errors.New("not a regular file"), err)
	}
	// One large read: fw_cfg takes time proportional to the offset for each.
	b := make([]byte, maxConfig+1)
	n, err := io.ReadFull(file, b)
	switch {
	case err == nil:
		return nil, fmt.Errorf("larger than %d bytes", maxConfig)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return b[:n], nil
	}
	return nil, err
}
