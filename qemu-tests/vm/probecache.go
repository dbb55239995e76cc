package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// probeCache remembers a probe's answer in one small file. Whatever is wrong
// with that file only means asking again.
type probeCache struct {
	file string // empty: remember nothing
	key  probeKey
}

// probeKey is everything the answer depends on. The boot id changes when the
// host reboots, which is when modules, kernels and nesting change.
type probeKey struct {
	BootID string `json:"bootID"`
	QEMU   string `json:"qemu"`
	Device string `json:"device"`
	Kernel string `json:"kernel"`
}

type probeRecord struct {
	Key   probeKey `json:"key"`
	Accel Accel    `json:"accel"`
}

func openProbeCache(ctx context.Context, tc Toolchain, opts ProbeOptions) (probeCache, error) {
	if opts.CacheDir == "" {
		return probeCache{}, nil
	}
	version, err := tc.Version(ctx)
	if err != nil {
		return probeCache{}, err
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return probeCache{}, fmt.Errorf("reading the host's boot id: %w", err)
	}
	kernel, err := fileStamp(opts.Kernel)
	if err != nil {
		return probeCache{}, err
	}
	return probeCache{
		file: filepath.Join(opts.CacheDir, "accelerator.json"),
		key: probeKey{
			BootID: strings.TrimSpace(string(bootID)),
			QEMU:   version,
			Device: opts.Device,
			Kernel: kernel,
		},
	}, nil
}

func (c probeCache) load() (Accel, bool) {
	if c.file == "" {
		return Accel{}, false
	}
	data, err := os.ReadFile(c.file)
	if err != nil {
		return Accel{}, false
	}
	var rec probeRecord
	if json.Unmarshal(data, &rec) != nil || rec.Key != c.key {
		return Accel{}, false
	}
	accel, err := newAccel(rec.Accel.Name, rec.Accel.Reason+" (remembered)")
	return accel, err == nil
}

func (c probeCache) store(a Accel) error {
	if c.file == "" {
		return nil
	}
	data, err := json.MarshalIndent(probeRecord{Key: c.key, Accel: a}, "", "\t")
	if err != nil {
		return err
	}
	if err := writeFileAtomic(c.file, data); err != nil {
		return fmt.Errorf("remembering the accelerator: %w", err)
	}
	return nil
}

// writeFileAtomic lets two runs that probe at once end with one whole file.
func writeFileAtomic(file string, data []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}

func fileStamp(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("kernel to probe with: %w", err)
	}
	return fmt.Sprintf("%s %d bytes of %s", file, info.Size(), info.ModTime().UTC()), nil
}
