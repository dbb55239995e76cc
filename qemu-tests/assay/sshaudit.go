package assay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	sshlayer "ingot/layers/ssh"
	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/verdict"
)

// sshAuditTime is how long ssh-audit's dozens of connections may take under KVM.
const sshAuditTime = time.Minute

// sshAuditCheck lets ssh-audit look at sshd. It makes many connections that never
// log in, for which sshd may shut out an address: nothing else follows.
func sshAuditCheck() check {
	return check{
		id: "depth.ssh-audit", layer: "depth", title: "ssh-audit has no warning", stage: deepLast,
		sabotage: sshlayer.SabotageAlgorithms(),
		make:     func(ctx context.Context, r *run) (string, error) { return r.sshAudit(ctx) },
	}
}

func (r *run) sshAudit(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.lab.Timeout(sshAuditTime))
	defer cancel()
	addr, stop, err := forward(ctx, r.tunnel, net.JoinHostPort(r.id.serverTunnel, r.id.sshPort))
	if err != nil {
		return "", err
	}
	defer stop()
	out, err := runSSHAudit(ctx, r.opts.Audit, addr)
	if err != nil {
		return "", err
	}
	r.out.depth(func(d *verdict.Depth) { d.SSHAudit = out })
	if err := os.WriteFile(filepath.Join(r.opts.Dir, "ssh-audit.txt"), []byte(out), 0o644); err != nil {
		return "", err
	}
	return judgeSSHAudit(out)
}

// runSSHAudit starts the tree's ssh-audit with the tree's Python, through the
// tree's dynamic linker, as QEMU is: nothing of the host's is used. The rate
// test is left out, a flood through userspace measures the tunnel.
func runSSHAudit(ctx context.Context, tree string, at net.Addr) (string, error) {
	lib := filepath.Join(tree, "usr/lib/x86_64-linux-gnu")
	host, port, err := net.SplitHostPort(at.String())
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(lib, "ld-linux-x86-64.so.2"), "--library-path", lib,
		filepath.Join(tree, "usr/bin/python3"), filepath.Join(tree, "usr/bin/ssh-audit"),
		"--no-colors", "--skip-rate-test", "--timeout=30", "--port="+port, host)
	cmd.Env = []string{
		"LC_ALL=C.UTF-8", "PATH=/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1",
		"PYTHONHOME=" + filepath.Join(tree, "usr"), "PYTHONPATH=" + filepath.Join(tree, "usr/lib/python3/dist-packages"),
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && strings.Contains(string(out), "(kex)") {
		return string(out), nil // its exit code counts what the text says
	}
	if err != nil {
		return "", fmt.Errorf("ssh-audit: %w: %s", err, clip(string(out)+stderr.String()))
	}
	return string(out), nil
}

// judgeSSHAudit wants no line that warns, and that there was something to look at.
func judgeSSHAudit(text string) (string, error) {
	var good int
	var bad []string
	for line := range strings.Lines(text) {
		switch {
		case strings.Contains(line, "[warn]"), strings.Contains(line, "[fail]"):
			bad = append(bad, strings.Join(strings.Fields(line), " "))
		case strings.HasPrefix(line, "("):
			good++
		}
	}
	evidence := fmt.Sprintf("%d lines, %d warnings", good+len(bad), len(bad))
	for _, section := range []string{"(kex)", "(key)", "(enc)", "(mac)"} {
		if !strings.Contains(text, section) {
			return evidence, fmt.Errorf("ssh-audit says nothing about %s", section)
		}
	}
	if len(bad) > 0 {
		return evidence, unmet("%s", strings.Join(bad, "; "))
	}
	return evidence, nil
}

// forward listens on the host's loopback and connects whoever comes to a
// service in the tunnel.
func forward(ctx context.Context, tunnel *internet.Tunnel, to string) (net.Addr, func(), error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return // closed
			}
			go join(ctx, tunnel, near, to)
		}
	}()
	return l.Addr(), func() { cancel(); l.Close() }, nil
}

// join copies both ways until one side ends.
func join(ctx context.Context, tunnel *internet.Tunnel, near net.Conn, to string) {
	defer near.Close()
	far, err := tunnel.DialContext(ctx, "tcp", to)
	if err != nil {
		return // the near side sees the end
	}
	defer far.Close()
	stop := context.AfterFunc(ctx, func() { near.Close(); far.Close() })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(far, near)
		far.Close()
	}()
	_, _ = io.Copy(near, far)
	near.Close()
	<-done
}
