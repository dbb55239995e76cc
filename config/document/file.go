package document

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// errNotRegular is for folders, devices and pipes.
var errNotRegular = errors.New("it is not a regular file")

// ReadFile returns at most limit bytes of a regular file below root, out of
// which no link leads. A pipe does not block the open.
func ReadFile(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: %w", name, errNotRegular)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// Cause drops the path from an error of [ReadFile] for a message that names
// the file already.
func Cause(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	if errors.Is(err, errNotRegular) {
		return errNotRegular
	}
	return err
}
