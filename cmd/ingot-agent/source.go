package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxConfig bounds an instance config: far above any provider's user-data
// limit (the largest is 256 KiB), far below the machine's memory.
const maxConfig = 4 << 20

// source is one place an instance config may come from.
type source struct {
	name string
	// read returns the config, unjudged. fs.ErrNotExist says that the place
	// or the config in it does not exist on this machine.
	read func(context.Context) ([]byte, error)
}

// sources are all places but the state volume, best first. What needs no
// network comes before what does: a machine that has a config at hand never
// waits for a network, and sends nothing before its firewall is up. Among the
// local ones the hypervisor's own channel comes first, then our own disk, then
// volumes that anybody may have attached.
func sources(platform string, patience patience, note func(string)) []source {
	return []source{
		{"QEMU fw_cfg opt/com.coreos/config", func(ctx context.Context) ([]byte, error) {
			_ = run(ctx, "modprobe", "-q", "qemu_fw_cfg") // absent on other hardware
			return readBounded(fwCfgFile)
		}},
		{"the ESP's /" + espFile, readESP},
		{"a volume labelled cidata", volume{[]string{"cidata", "CIDATA"}, "user-data"}.read},
		{"a volume labelled config-2", volume{[]string{"config-2", "CONFIG-2"}, "openstack/latest/user_data"}.read},
		{"the metadata service", metadata{platform, patience, note}.read},
	}
}

const fwCfgFile = "/sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/raw"

// readBounded reads a regular file of at most maxConfig bytes. It does not wait
// for a writer when root left a named pipe in its place.
func readBounded(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readRegular(file)
}

// readBelow is readBounded for a file below a directory that others filled: a
// link in it leads nowhere outside.
func readBelow(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readRegular(file)
}

func readRegular(file *os.File) ([]byte, error) {
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errors.New("not a regular file"), err)
	}
	return readAtMost(file)
}

// readAtMost reads all of r, which must not be larger than an instance config
// may be.
func readAtMost(r io.Reader) ([]byte, error) {
	// Large reads: fw_cfg takes time proportional to the offset for each. Not
	// io.ReadFull, for which an answer cut short by the network ends as well as
	// a whole one.
	b, n := make([]byte, maxConfig+1), 0
	for n < len(b) {
		m, err := r.Read(b[n:])
		n += m
		if errors.Is(err, io.EOF) {
			return b[:n], nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: larger than %d bytes", errRefused, maxConfig)
}

// problem says why a place gave nothing, for the console.
func problem(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return notPresent
	}
	return err.Error()
}

const notPresent = "not present"
