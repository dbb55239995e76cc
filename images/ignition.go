package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ingot/fault"
	"ingot/ignition/source"
)

// ignitionFlags are the linker flags for the real Ignition. The distro
// variables that are not set here keep names that a Debian tree has in PATH
// (useradd, groupadd, systemctl, udevadm); the disk tools are never called,
// since an instance config has no disks.
func ignitionFlags() string {
	set := func(name, value string) string {
		return fmt.Sprintf("-X %s/internal/%s=%s", source.Module, name, value)
	}
	return strings.Join([]string{
		"-s", "-w", "-linkmode", "external", "-extldflags", "-static", "-buildid=",
		set("version.Raw", source.Version()),
		set("distro.selinuxRelabel", "false"), // Debian has no /etc/selinux/config
		set("distro.resultFilePath", ""),      // a time stamp would be in every image
		set("distro.writeAuthorizedKeysFragment", "false"),
	}, " ")
}

// ignitionFile is the program in its stage.
const ignitionFile = "ignition"

// ignition compiles the pinned Ignition in the compiler tree. It must be the one
// that the lock names, if it names one.
func (b *builder) ignition(ctx context.Context, lock Lock, s stageID) (string, error) {
	return b.stage(ctx, s, func(dir string) error {
		compiler, err := b.tree(ctx, lock, TreeCompiler)
		if err != nil {
			return err
		}
		goroot, err := goEnv(ctx, "GOROOT")
		if err != nil {
			return err
		}
		module := filepath.Join(dir, "module")
		modcache, err := downloadModules(ctx, module)
		if err != nil {
			return err
		}
		err = b.run(ctx, script{Name: "ignition", Log: b.opts.Log, Env: map[string]string{
			"TREE": filepath.Join(compiler, "tree"), "GOROOT": goroot, "GOMODCACHE": modcache, "MODULE": module, "LDFLAGS": ignitionFlags(), "OUT": dir,
		}})
		if err != nil {
			return err
		}
		return errors.Join(checkIgnition(dir, lock), os.RemoveAll(module))
	})
}

func checkIgnition(dir string, lock Lock) error {
	sum, err := fileDigest(filepath.Join(dir, ignitionFile))
	if err == nil && lock.Ignition != "" && sum != lock.Ignition {
		err = fault.Input(fmt.Errorf("the Ignition built here has SHA-256 %s and the lock names %s; the Go toolchain differs: use the locked one or run \"ingot lock\"", sum, lock.Ignition))
	}
	return err
}

// downloadModules fills the module cache with what Ignition needs, at the
// pinned versions and digests.
func downloadModules(ctx context.Context, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for name, content := range map[string]string{"go.mod": source.GoMod, "go.sum": source.GoSum} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	list := bound(exec.CommandContext(ctx, "go", "list", "-mod=mod", "-deps", "-f", "{{.ImportPath}}", source.Module+"/internal"))
	list.Dir = dir
	list.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := list.CombinedOutput(); err != nil {
		return "", fault.Machine(fmt.Errorf("the modules of Ignition could not be downloaded: %w\n%s", err, lastLines(string(out), 5)))
	}
	return goEnv(ctx, "GOMODCACHE")
}

func goEnv(ctx context.Context, name string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "-json", name).Output()
	if err != nil {
		return "", fault.Machine(fmt.Errorf("the Go toolchain is needed to build Ignition: %w", err))
	}
	values := map[string]string{}
	if err := json.Unmarshal(out, &values); err != nil {
		return "", err
	}
	return values[name], nil
}
