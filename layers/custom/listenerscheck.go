package custom

import (
	"fmt"
	"strconv"
	"strings"

	"ingot/layers"
)

type listenersCheck struct {
	// Unit is whose sockets, with its suffix: a service's own, or those that systemd
	// opened for a socket unit.
	Unit string `yaml:"unit"`
	// Program is the name of a process that has the sockets.
	Program string `yaml:"program"`
	// Exactly are all of them, such as tcp/8080; one bound to loopback is
	// tcp/8080@loopback. Without unit and program they are the machine's, less
	// those on loopback.
	Exactly []string `yaml:"exactly" ingot:"required"`
}

// KeyAdvice implements the decoder's interface of that name.
func (listenersCheck) KeyAdvice(key string) (message, advice string) {
	switch key {
	case "service", "socket":
		return fmt.Sprintf("unknown key %q", key), "whose sockets is called unit"
	case "ports", "sockets", "equals":
		return fmt.Sprintf("unknown key %q", key), "the list is called exactly"
	}
	return "", ""
}

const (
	socketShape = `^(tcp|udp)/[1-9][0-9]{0,4}(@loopback)?$`
	// The kernel keeps 15 characters of a program's name.
	programShape = `^[A-Za-z0-9_.:+()-]{1,15}$`
)

func (l *loader) listenersCheck(x listenersCheck, at []any) *layers.ListenerCheck {
	if x.Unit != "" && (!matches(unitShape, x.Unit) || !strings.HasSuffix(x.Unit, ".service") && !strings.HasSuffix(x.Unit, ".socket")) {
		l.report(fmt.Sprintf("%q is not a service or a socket unit", x.Unit), "use a name such as my-app.service", join(at, "unit")...)
	}
	if x.Program != "" && !matches(programShape, x.Program) {
		l.report(fmt.Sprintf("%q is not the name of a process", x.Program), "write what ps -o comm shows, up to 15 characters and no path", join(at, "program")...)
	}
	if x.Unit != "" && x.Program != "" {
		l.report("the sockets are a unit's and a program's", "keep unit or program", join(at, "program")...)
	}
	if len(x.Exactly) == 0 {
		l.report("the list is empty", "write the sockets, such as tcp/8080; that nothing listens is for a command to find", join(at, "exactly")...)
	}
	seen := map[string]bool{}
	for i, name := range x.Exactly {
		l.socket(name, x.Unit == "" && x.Program == "", join(at, "exactly", i))
		if seen[name] {
			l.report(fmt.Sprintf("%s stands here twice", name), "keep one of the two", join(at, "exactly", i)...)
		}
		seen[name] = true
	}
	return &layers.ListenerCheck{Unit: x.Unit, Program: x.Program, Exactly: x.Exactly}
}

// socket checks the name of one; everybody's are looked at beyond loopback.
func (l *loader) socket(name string, everybodys bool, at []any) {
	if !matches(socketShape, name) {
		l.report(fmt.Sprintf("%q is not a socket", name), "write protocol/port, such as tcp/8080, or tcp/8080@loopback", at...)
		return
	}
	_, port, _ := strings.Cut(strings.TrimSuffix(name, "@loopback"), "/")
	n, _ := strconv.Atoi(port) // five digits at most
	l.portNumber(n, at)
	if everybodys && strings.HasSuffix(name, "@loopback") {
		l.report("those on loopback are looked at for one unit or program only", "remove it, or add unit or program", at...)
	}
}
