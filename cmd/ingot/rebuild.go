package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ingot/fault"
	"ingot/images"
	"ingot/images/inspect"
)

// otherImage is what a second build made of the same inputs, when it is another
// image.
const otherImage = "image.other.raw"

// rebuild makes the image of a folder once more, from the packages alone and as
// differently as this machine can, and wants the same bytes.
func (c *console) rebuild(ctx context.Context, dir string, f buildFlags, first images.Result) error {
	cache, err := images.OpenCache(os.Getenv("INGOT_CACHE"))
	if err != nil {
		return err
	}
	scratch, done, err := cache.Scratch("verify-")
	if err != nil {
		return err
	}
	c.remark("building once more from the packages alone: another folder, time zone, language and umask, one processor, memory not shuffled")
	second, err := c.buildElsewhere(ctx, dir, f, cache, scratch)
	if err == nil && second.SHA256 != first.SHA256 {
		other := filepath.Join(f.output(dir), otherImage)
		if err = os.Rename(second.Image, other); err == nil {
			err = differ(ctx, first.Image, other, cache)
		}
	}
	if err := errors.Join(err, done()); err != nil {
		return err
	}
	c.remark("the second build, which took %.0f s, has the same bytes", second.Seconds)
	return nil
}

// buildElsewhere builds in a process of its own, with a cache that has nothing
// but the packages.
func (c *console) buildElsewhere(ctx context.Context, dir string, f buildFlags, cache images.Cache, scratch string) (images.Result, error) {
	var result images.Result
	self, err := os.Executable()
	if err != nil {
		return result, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return result, err
	}
	folder, stages := filepath.Join(scratch, "another folder"), filepath.Join(scratch, "cache")
	err = errors.Join(os.Symlink(dir, folder), os.Mkdir(stages, 0o755), os.Symlink(filepath.Join(cache.Dir, "debs"), filepath.Join(stages, "debs")))
	if err != nil {
		return result, err
	}
	args := []string{"build", "--json", "--quiet", "--locked", "--output", filepath.Join(scratch, "out")}
	if f.release {
		args = append(args, "--release")
	}
	cmd := otherwise(ctx, self, append(args, folder))
	cmd.Env = append(os.Environ(), "INGOT_CACHE="+stages, "TZ=Pacific/Kiritimati", "LC_ALL=tr_TR.UTF-8", "SOURCE_DATE_EPOCH=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return result, ctx.Err()
		}
		return result, fault.Machine(fmt.Errorf("the second build failed: %w\n%s", err, strings.TrimSpace(stderr.String())))
	}
	return result, json.Unmarshal(stdout.Bytes(), &result)
}

// otherwise runs a program with another umask, on one processor and without
// address space randomisation, as far as this machine has the means.
func otherwise(ctx context.Context, program string, args []string) *exec.Cmd {
	argv := []string{"sh", "-c", `umask 027; exec "$@"`, "sh"}
	for _, means := range [][]string{{"taskset", "--cpu-list", "0"}, {"setarch", "--addr-no-randomize"}} {
		if exec.Command(means[0], append(means[1:], "true")...).Run() == nil {
			argv = append(argv, means...)
		}
	}
	argv = append(append(argv, program), args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// It cleans up after itself when it is asked to end, and not when it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	return cmd
}

// differ says where two images of the same inputs differ first.
func differ(ctx context.Context, a, b string, cache images.Cache) error {
	first, err := inspect.Read(ctx, a, cache)
	if err != nil {
		return err
	}
	second, err := inspect.Read(ctx, b, cache)
	if err != nil {
		return err
	}
	return fault.Checks(fmt.Errorf("the build is not reproducible: %s; \"ingot diff %s %s\" shows all of it", firstDifference(inspect.Compare(first, second)), a, b))
}

func firstDifference(d inspect.Diff) string {
	switch {
	case len(d.Files) > 0:
		f := d.Files[0]
		return fmt.Sprintf("%s is %s (%s)", f.Path, f.Change, strings.Join(f.What, ", "))
	case len(d.Facts) > 0:
		return fmt.Sprintf("%s was %s and is %s", d.Facts[0].Name, d.Facts[0].Old, d.Facts[0].New)
	}
	return "all files are the same, and the disk is not"
}
