package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// giveIdentity leaves the future root with a read-only /etc that is the
// image's with this machine's identity over it.
//
// It never fails for want of a usable instance config: the machine then comes
// up without a network and says why on its console (see status.go).
func giveIdentity(ctx context.Context) error {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return err
	}
	allowed, err := readAllowlist(allowedFile)
	if err != nil {
		return err
	}
	rootHash, err := kernelArgument("roothash")
	if err != nil {
		return err
	}
	report := settle(ctx, allowed, rootHash)
	if err := lay(allowed, &report); err != nil {
		return err
	}
	return report.write(runDir)
}

// settle brings identityDir up to date with the image and the config.
//
// The sources are asked one after the other until one has a config that is
// good; the last one is the config of the identity that is there.
func settle(ctx context.Context, allowed allowlist, rootHash string) report {
	override, _ := kernelArgument("ignition.platform.id") // absent on most machines
	r := report{Platform: platformID("/sys/class/dmi/id", override)}
	refused := false
	note := func(text string) { r.Notes = append(r.Notes, text) }
	for _, s := range sources(r.Platform, patienceFor(readStamp(identityDir)), note) {
		config, err := s.read(ctx)
		if err == nil {
			err = screen(config)
		}
		if err == nil && r.adopt(ctx, allowed, rootHash, config, s.name) {
			return r
		}
		if err != nil {
			r.Tried = append(r.Tried, s.name+": "+problem(err))
		}
		refused = refused || err == nil || errors.Is(err, errRefused)
	}
	r.fallBack(ctx, allowed, rootHash, refused)
	return r
}

// adopt makes config this machine's, unless it is already, and reports whether
// it is now.
func (r *report) adopt(ctx context.Context, allowed allowlist, rootHash string, config []byte, name string) bool {
	if readStamp(identityDir) != newStamp(rootHash, config) || reprovisionAsked() {
		if err := apply(ctx, allowed, rootHash, config); err != nil {
			r.Tried = append(r.Tried, fmt.Sprintf("%s: %v", name, err))
			return false
		}
		r.Applied = true
	}
	r.Configured, r.Source = true, name
	return true
}

// lastGood is the name of the config that the kept identity was made from.
const lastGood = "the last good config on " + varLabel

// fallBack keeps the identity that is there, made anew when the image is
// another one. After a refusal it does nothing else: what a new config asked
// for, such as a reprovision, waits for a good one.
func (r *report) fallBack(ctx context.Context, allowed allowlist, rootHash string, refused bool) {
	config, err := readBounded(filepath.Join(identityDir, identityConfig))
	if err != nil {
		r.Tried = append(r.Tried, lastGood+": "+notPresent)
		return
	}
	was := readStamp(identityDir)
	r.Kept = refused
	if refused && was == newStamp(rootHash, config) {
		r.Configured, r.Source = true, lastGood
		return
	}
	if !r.adopt(ctx, allowed, rootHash, config, lastGood) {
		// An older identity keeps the machine reachable for repair.
		r.Kept = was != stamp{}
		r.Configured = r.Kept
	}
}

// reprovisionFile asks for the config to be applied again at the next boot.
const reprovisionFile = stateDir + "/reprovision"

func reprovisionAsked() bool {
	_, err := os.Stat(reprovisionFile)
	return err == nil
}

// apply makes a new identity with the real Ignition and puts it in place. A
// power cut at any point leaves the old identity or the new one.
func apply(ctx context.Context, allowed allowlist, rootHash string, config []byte) error {
	next := identityDir + ".new"
	unpin(identityDir)
	unpin(next)
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	upper, work := filepath.Join(next, identityEtc), filepath.Join(next, "work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	kept := filepath.Join(next, identityConfig)
	if err := os.WriteFile(kept, config, 0o600); err != nil {
		return err
	}
	if err := underOverlay(upper, work, func() error { return ignite(ctx, kept) }); err != nil {
		return err
	}
	foreign, err := allowed.foreign(upper)
	if err != nil {
		return err
	}
	if len(foreign) > 0 {
		return fmt.Errorf("the config writes what an instance may not have: %s; allowed are only the paths in %s",
			strings.Join(foreign, ", "), strings.TrimPrefix(allowedFile, sysroot))
	}
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := writeStamp(next, newStamp(rootHash, config)); err != nil {
		return err
	}
	if err := replace(next, identityDir); err != nil {
		return err
	}
	if err := os.Remove(reprovisionFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func writeStamp(dir string, s stamp) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, identityStamp), append(b, '\n'), 0o600)
}

// underOverlay runs f while writes to the future /etc go to upper and nothing
// else of the future root can be written: what an instance leaves on /var
// would outlive it.
func underOverlay(upper, work string, f func() error) error {
	etc := sysroot + "/etc"
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", etc, upper, work)
	if err := unix.Mount("overlay", etc, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount the writable /etc: %w", err)
	}
	err := underReadOnly(sysrootVar, f)
	if e := unix.Unmount(etc, 0); e != nil {
		err = errors.Join(err, fmt.Errorf("unmount the writable /etc: %w", e))
	}
	return err
}

// underReadOnly runs f while nothing can be written below the mount point dir.
// An overlay mounted before keeps its writable upper directory there.
func underReadOnly(dir string, f func() error) error {
	seal := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, dir, 0, &seal); err != nil {
		return fmt.Errorf("seal %s: %w", dir, err)
	}
	err := f()
	unseal := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
	if e := unix.MountSetattr(unix.AT_FDCWD, dir, 0, &unseal); e != nil {
		err = errors.Join(err, fmt.Errorf("unseal %s: %w", dir, e))
	}
	return err
}

// ignite runs the real Ignition's stages for a config that needs no network.
func ignite(ctx context.Context, config string) error {
	// They hold the instance's secrets, and /run moves on to the real root.
	defer os.RemoveAll(runDir + "/ignition.json")
	defer os.RemoveAll(runDir + "/ignition.state")
	for _, stage := range []string{"fetch-offline", "files"} {
		var log bytes.Buffer
		cmd := exec.CommandContext(ctx, "ignition", "--platform=file", "--stage="+stage, "--root="+sysroot,
			"--log-to-stdout", "--config-cache="+runDir+"/ignition.json",
			"--state-file="+runDir+"/ignition.state", "--neednet="+runDir+"/neednet")
		// Only our file counts, not what the kernel command line or a folder
		// of base configs may name.
		cmd.Env = append(os.Environ(), "IGNITION_CONFIG_FILE="+config, "IGNITION_KERNEL_CMDLINE_PATH=/dev/null",
			"IGNITION_SYSTEM_RUNTIME_CONFIG_DIR="+runDir+"/none", "IGNITION_SYSTEM_LOCAL_CONFIG_DIR="+runDir+"/none",
			"IGNITION_SYSTEM_CONFIG_DIR="+runDir+"/none")
		// On failure Ignition prints the whole config to stderr, secrets
		// included: that goes nowhere.
		cmd.Stdout = &log
		err := cmd.Run()
		os.Stdout.Write(log.Bytes())
		if err != nil {
			return fmt.Errorf("ignition's %s stage refused the config: %s", stage, critical(log.String()))
		}
		if _, err := os.Stat(runDir + "/neednet"); err == nil {
			return errors.New("the config refers to something on the network; put it into the config itself")
		}
	}
	return nil
}

// critical picks the lines of Ignition's log that say what went wrong.
func critical(log string) string {
	var lines []string
	for l := range strings.Lines(log) {
		l = strings.TrimSpace(l)
		if strings.Contains(l, "CRITICAL") || strings.Contains(l, "error at") {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "; ")
}

// lay copies the identity to memory and mounts it over the image's /etc,
// read-only. The copy means that nothing keeps the state volume busy at
// shutdown, and that what root plants on the volume is not seen before the
// next boot's sweep.
func lay(allowed allowlist, r *report) error {
	const over = runDir + "/identity"
	if err := os.MkdirAll(over, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", over, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=16m"); err != nil {
		return fmt.Errorf("mount memory for the identity: %w", err)
	}
	etc := filepath.Join(over, identityEtc)
	if err := os.Mkdir(etc, 0o755); err != nil {
		return err
	}
	if kept := filepath.Join(identityDir, identityEtc); r.Configured {
		removed, err := allowed.sweep(kept)
		if err != nil {
			return fmt.Errorf("clean the identity: %w", err)
		}
		r.Removed = removed
		if err := copyTree(kept, etc); err != nil {
			return fmt.Errorf("copy the identity: %w", err)
		}
	}
	id, err := machineID(stateDir + "/machine-id")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(etc, "machine-id"), []byte(id+"\n"), 0o444); err != nil {
		return err
	}
	if err := unix.Mount("", over, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("seal the identity: %w", err)
	}
	layers := "lowerdir=" + etc + ":" + sysroot + "/etc"
	if err := unix.Mount("overlay", sysroot+"/etc", "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, layers); err != nil {
		return fmt.Errorf("mount /etc: %w", err)
	}
	return nil
}

// machineID reads the machine id kept in file, making one on first boot. It
// belongs to /var and not to an identity: a new config is still this machine.
func machineID(file string) (string, error) {
	if b, err := readBounded(file); err == nil {
		if id := strings.TrimSpace(string(b)); isMachineID(id) {
			return id, nil
		}
	}
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // a version 4 UUID, as machine-id(5) wants
	id := hex.EncodeToString(b[:])
	next := file + ".new"
	for _, damaged := range []string{file, next} { // a folder cannot be renamed over
		if err := os.RemoveAll(damaged); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(next, []byte(id+"\n"), 0o444); err != nil {
		return "", err
	}
	if err := syncFS(next); err != nil {
		return "", err
	}
	return id, os.Rename(next, file)
}

// isMachineID reports whether systemd would take id: 32 lower-case hexadecimal
// digits, not all of them zero, as machine-id(5) says.
func isMachineID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" && strings.Trim(id, "0") != ""
}
