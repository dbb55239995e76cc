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
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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

// command prepares a program that is uid 0 of such namespaces.
func (namespace) command(ctx context.Context, online bool, program ...string) *exec.Cmd {
	argv := []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private"}
	if !online {
		argv = append(argv, "--net")
	}
	host := thisHost()
	if host.euid != 0 {
		argv = append(argv, "--user", "--map-root-user", "--map-auto")
	}
	argv = append(argv, program...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// A process group of its own: a terminal's Ctrl-C reaches us, and we end
	// the namespace as a whole.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if host.euid == 0 && !host.mayMount() {
		// Root of a container without that right has it in a user namespace. It
		// may hand on all of its ids, so that everything looks the same there.
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = host.ids("uid_map"), host.ids("gid_map")
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
	}
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// runGroup runs a program that leads a process group, and ends with it what it
// leaves of the group: unshare of util-linux 2.38 leaves a child that waits for
// ever when it cannot make a user namespace.
func runGroup(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	group := cmd.Process.Pid
	// Its number is taken until it was waited for, so that no other group has it.
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = unix.Waitid(unix.P_PID, group, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
	_ = unix.Kill(-group, unix.SIGKILL)
	return cmd.Wait()
}

// bound ends a program with this one, however this one ends.
func bound(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
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
	watched, end := context.WithCancel(ctx)
	defer end()
	printed := &output{onFullDisk: end}
	cmd := n.command(watched, s.Online, "/bin/sh", "-eu", "-c", umask+string(lib)+string(body), "ingot-"+s.Name)
	cmd.Env = environment(s.Env)
	cmd.Stdout = printed
	if s.Log != nil {
		cmd.Stdout = io.MultiWriter(printed, s.Log)
	}
	cmd.Stderr = cmd.Stdout
	if s.Out != nil {
		cmd.Stdout = s.Out
	}
	err = runGroup(cmd)
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
	var printed bytes.Buffer
	cmd := n.command(ctx, false, append([]string{program}, verb...)...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environment(nil), stdin, stdout, &printed
	err = runGroup(cmd)
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

// lacking begins the line in which a script tells what a namespace does not
// give: a key of lacks.
const lacking = "ingot-lacks: "

func (namespace) explain(s script, err error, output string) error {
	if what, ok := missing(output, err); ok {
		return fault.Machine(fmt.Errorf("%s; %s: %w\n%s", what.problem, thisHost().advice(what, output+err.Error()), err, lastLines(output, 5)))
	}
	// Before a refusal: what does not fit is not the input's fault.
	if strings.Contains(output, fullDisk) {
		return fault.Machine(fmt.Errorf("%s: the disk is full; make room where the cache is: %w\n%s", s.Name, err, lastLines(output, 5)))
	}
	for _, line := range strings.Split(output, "\n") {
		if why, ok := strings.CutPrefix(line, refusal); ok {
			return fault.Input(fmt.Errorf("%s %w: %s\n%s", s.Name, errScript, why, lastLines(output, 20)))
		}
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
