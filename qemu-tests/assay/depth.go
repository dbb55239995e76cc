package assay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"ingot/qemu-tests/verdict"
)

// deepChecks take minutes. The tools are brought to the machine's memory and go
// with it: the image has none of them.
func deepChecks() []check {
	list := []check{
		{
			id: "depth.suid", title: "files with SUID or SGID are few and declared",
			sabotage: "cp /usr/bin/true /var/lib/ingot/sabotage && chmod 4755 /var/lib/ingot/sabotage",
			make:     func(ctx context.Context, r *run) (string, error) { return r.suid(ctx) },
		},
		{
			id: "depth.exposure", title: "services with sockets are in sandboxes",
			sabotage: "systemd-run --quiet --unit=sabotage systemd-socket-activate --listen=0.0.0.0:9999 /usr/bin/true" +
				" && until ss -Hltn | grep -q :9999; do sleep 0.1; done",
			make: func(ctx context.Context, r *run) (string, error) { return r.exposures(ctx) },
		},
	}
	for _, f := range fileSweeps {
		list = append(list, check{id: f.id, title: f.title, sabotage: f.sabotage,
			make: func(ctx context.Context, r *run) (string, error) { return r.shell.sweep(ctx, f) }})
	}
	list = append(list, check{
		id: "depth.lynis", title: fmt.Sprintf("lynis' hardening index is %d or more, and what it suggests is explained", lynisGoal),
		sabotage: "mount -t tmpfs tmpfs /etc/modprobe.d",
		make:     func(ctx context.Context, r *run) (string, error) { return r.auditWithLynis(ctx) },
	})
	for i := range list {
		list[i].layer, list[i].stage = "depth", deep
	}
	return append(list, sshAuditCheck())
}

func (r *run) auditWithLynis(ctx context.Context) (string, error) {
	r.say("lynis audits the machine, which takes minutes")
	report, err := r.lynis(ctx)
	if err != nil {
		return "", err
	}
	r.out.depth(func(d *verdict.Depth) { d.Lynis = report })
	return judgeLynis(report)
}

// exposures measures and judges the running services.
func (r *run) exposures(ctx context.Context) (string, error) {
	list, err := r.shell.measureExposure(ctx)
	if err != nil {
		return "", err
	}
	r.out.depth(func(d *verdict.Depth) { d.Exposure = list })
	return judgeExposure(list)
}

// fileSweep wants find to find nothing.
type fileSweep struct {
	id, title string
	test      []string // find's tests
	sabotage  string
}

var fileSweeps = []fileSweep{
	{"depth.world-writable", "no file is writable by everybody", []string{"-type", "f", "-perm", "-0002"}, "touch /run/sabotage && chmod 0666 /run/sabotage"},
	{"depth.world-writable-folders", "folders writable by everybody are sticky", []string{"-type", "d", "-perm", "-0002", "!", "-perm", "-1000"}, "mkdir --mode=0777 /run/sabotage"},
	{"depth.unowned", "every file has an owner and a group", []string{"(", "-nouser", "-o", "-nogroup", ")"}, "touch /run/sabotage && chown 12345 /run/sabotage"},
}

// places are the file systems that hold files: the sealed root, what is laid
// over it, and what can be written.
var places = []string{"/", "/etc", "/var", "/tmp", "/run", "/dev/shm"}

// sweepTime is how long a walk over all files may take under KVM.
const sweepTime = 30 * time.Second

func (s *Shell) sweep(ctx context.Context, f fileSweep) (string, error) {
	found, err := s.find(ctx, f.test)
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return fmt.Sprintf("%d files", len(found)), unmet("%s", strings.Join(found, ", "))
	}
	return "none in " + strings.Join(places, " "), nil
}

// find runs find in every place.
func (s *Shell) find(ctx context.Context, test []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*sweepTime)
	defer cancel()
	argv := slices.Concat([]string{"find"}, places, []string{"-xdev"}, test, []string{"-print"})
	out, err := s.Run(ctx, argv...)
	if err != nil {
		return nil, err
	}
	// A file that goes while find looks at it is no news; all else is.
	for line := range strings.Lines(out.Stderr) {
		if !strings.Contains(line, "No such file or directory") {
			return nil, fmt.Errorf("find: %s", clip(line))
		}
	}
	found := strings.FieldsFunc(out.Stdout, func(c rune) bool { return c == '\n' })
	slices.Sort(found)
	return slices.Compact(found), nil
}

// maxSUID is the goal for set-user-ID files.
const maxSUID = 4

// suid compares the bits that are set with those that layers declared.
func (r *run) suid(ctx context.Context) (string, error) {
	found, err := r.shell.find(ctx, []string{"-type", "f", "-perm", "/6000"})
	if err != nil {
		return "", err
	}
	var undeclared []string
	for _, path := range found {
		declared := false
		for _, s := range r.id.Plan.SUID {
			declared = declared || s.Path == path
		}
		if !declared {
			undeclared = append(undeclared, path)
		}
	}
	evidence := orNone(found)
	switch {
	case len(undeclared) > 0:
		return evidence, unmet("not declared by a layer: %s", strings.Join(undeclared, ", "))
	case len(found) > maxSUID:
		return evidence, unmet("%d files, the goal is %d", len(found), maxSUID)
	}
	return evidence, nil
}
