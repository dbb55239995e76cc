package images

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strings"
	"syscall"
	"time"

	"ingot/fault"
)

//go:embed scripts/*.sh
var scripts embed.FS

// script is one of scripts/NAME.sh with its environment.
type script struct {
	Name   string
	Env    map[string]string
	Online bool      // keep the host's network
	Log    io.Writer // everything printed; nil keeps the end for the error only
	Out    io.Writer // standard output alone, when it is a result; nil for none
}

// namespace runs scripts as uid 0 of a mount and process namespace of their
// own: what they mount or start ends with them. An ordinary user gets a user
// namespace in which their own uid is 0 and their subordinate ids are the
// rest, so that files of the cache look the same to both.
type namespace struct{}

func (namespace) command(online bool) []string {
	argv := []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private"}
	if !online {
		argv = append(argv, "--net")
	}
	if os.Geteuid() != 0 {
		argv = append(argv, "--user", "--map-root-user", "--map-auto")
	}
	return argv
}

// umask: the user's own must not reach the modes of an image's files.
const umask = "umask 022\n"

func (n namespace) run(ctx context.Context, s script) error {
	lib, err := scripts.ReadFile("scripts/lib.sh")
	if err != nil {
		return err
	}
	body, err := scripts.ReadFile("scripts/" + s.Name + ".sh")
	if err != nil {
		return err
	}
	argv := append(n.command(s.Online), "/bin/sh", "-eu", "-c", umask+string(lib)+string(body), "ingot-"+s.Name)
	watched, end := context.WithCancel(ctx)
	defer end()
	printed := &output{onFullDisk: end}
	cmd := exec.CommandContext(watched, argv[0], argv[1:]...)
	cmd.Env = environment(s.Env)
	cmd.Stdout = printed
	if s.Log != nil {
		cmd.Stdout = io.MultiWriter(printed, s.Log)
	}
	cmd.Stderr = cmd.Stdout
	if s.Out != nil {
		cmd.Stdout = s.Out
	}
	// A process group of its own: a terminal's Ctrl-C reaches us, and we end
	// the namespace as a whole.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return n.explain(s, err, printed.all.String())
	}
	return nil
}

// self runs a verb of this program as a script is run: for what must be done as
// uid 0 of the namespace and is written in Go.
func (n namespace) self(ctx context.Context, stdin io.Reader, stdout io.Writer, verb ...string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	argv := append(append(n.command(false), program), verb...)
	var printed bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environment(nil), stdin, stdout, &printed
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return n.explain(script{Name: verb[0]}, err, printed.String())
	}
	return nil
}

// output is what a script prints. The first word of a full disk ends the
// script: mkfs.erofs 1.8 would wait for ever.
type output struct {
	all        bytes.Buffer // not embedded: io.Copy would use its ReadFrom
	onFullDisk func()
}

const fullDisk = "No space left on device" // ENOSPC in the C locale

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	unseen := max(0, o.all.Len()-len(fullDisk))
	n, err := o.all.Write(p)
	if bytes.Contains(o.all.Bytes()[unseen:], []byte(fullDisk)) {
		o.onFullDisk()
	}
	return n, err
}

// refusal begins the line in which a script refuses.
const refusal = "ingot-refuse: "

// errScript is a script's own refusal: its last line says what is wrong with
// the input, in words for the user.
var errScript = errors.New("refused")

func (namespace) explain(s script, err error, output string) error {
	// Before a refusal: what does not fit is not the input's fault.
	if strings.Contains(output, fullDisk) {
		return fault.Machine(fmt.Errorf("%s: the disk is full; make room where the cache is: %w\n%s", s.Name, err, lastLines(output, 5)))
	}
	for _, line := range strings.Split(output, "\n") {
		if why, ok := strings.CutPrefix(line, refusal); ok {
			return fault.Input(fmt.Errorf("%s %w: %s\n%s", s.Name, errScript, why, lastLines(output, 20)))
		}
	}
	if strings.Contains(output, "unshare:") || strings.Contains(output, "newuidmap") || errors.Is(err, exec.ErrNotFound) {
		return fault.Machine(fmt.Errorf("no namespace could be made; install uidmap and give this user subordinate ids in /etc/subuid and /etc/subgid: %w\n%s", err, lastLines(output, 5)))
	}
	return fmt.Errorf("%s: %w\n%s", s.Name, err, lastLines(output, 20))
}

// environment is all that a script sees: nothing of the host may reach the
// bytes of an image.
func environment(extra map[string]string) []string {
	env := []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC", "HOME=/root",
		"TMPDIR=/tmp", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_OFFLINE=1",
	}
	for k, v := range extra {
		env = append(env, k+"="+v)
	}
	return env
}

// CheckHost reports what this machine lacks for a build, all of it at once.
func CheckHost() error {
	var missing []string
	for _, need := range []struct{ program, pkg string }{
		{"mmdebstrap", "mmdebstrap"}, {"apt-get", "apt"}, {"dpkg-deb", "dpkg"}, {"unshare", "util-linux"}, {"go", "golang-go"},
	} {
		if _, err := exec.LookPath(need.program); err != nil {
			missing = append(missing, fmt.Sprintf("%s (Debian package %s)", need.program, need.pkg))
		}
	}
	if os.Geteuid() != 0 {
		missing = append(missing, missingIDs()...)
	}
	if len(missing) > 0 {
		return fault.Machine(fmt.Errorf("this machine lacks %s", strings.Join(missing, ", ")))
	}
	return nil
}

// missingIDs says what an ordinary user lacks to own a tree with many uids.
func missingIDs() []string {
	var missing []string
	if _, err := exec.LookPath("newuidmap"); err != nil {
		missing = append(missing, "newuidmap (Debian package uidmap)")
	}
	u, err := user.Current()
	if err != nil {
		return append(missing, "a name for this user")
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		b, _ := os.ReadFile(file)
		if !strings.Contains("\n"+string(b), "\n"+u.Username+":") && !strings.Contains("\n"+string(b), "\n"+u.Uid+":") {
			missing = append(missing, fmt.Sprintf("subordinate ids for %s in %s", u.Username, file))
		}
	}
	return missing
}
