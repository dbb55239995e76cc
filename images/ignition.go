package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

// buildIgnition compiles the pinned Ignition in the compiler tree and
// returns its stage directory and the binary's SHA-256.
func (b *builder) buildIgnition(ctx context.Context, compiler string, packages []Package) (string, string, error) {
	goroot, err := goEnv(ctx, "GOROOT")
	if err != nil {
		return "", "", err
	}
	version, err := goEnv(ctx, "GOVERSION")
	if err != nil {
		return "", "", err
	}
	key, err := digest([]any{"ignition", source.GoMod, source.GoSum, packages, version, ignitionFlags(), scriptDigest("ignition")})
	if err != nil {
		return "", "", err
	}
	dir, err := b.stage(ctx, "ignition", key, func(dir string) error {
		module := filepath.Join(dir, "module")
		modcache, err := downloadModules(ctx, module)
		if err != nil {
			return err
		}
		err = b.ns.run(ctx, script{Name: "ignition", Log: b.opts.Log, Env: map[string]string{
			"TREE": compiler, "GOROOT": goroot, "GOMODCACHE": modcache, "MODULE": module, "LDFLAGS": ignitionFlags(), "OUT": dir,
		}})
		if err != nil {
			return err
		}
		return os.RemoveAll(module)
	})
	if err != nil {
		return "", "", err
	}
	content, err := os.ReadFile(filepath.Join(dir, "ignition"))
	if err != nil {
		return "", "", err
	}
	sum := sha256.Sum256(content)
	return filepath.Join(dir, "ignition"), hex.EncodeToString(sum[:]), nil
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
	list := exec.CommandContext(ctx, "go", "list", "-mod=mod", "-deps", "-f", "{{.ImportPath}}", source.Module+"/internal")
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
