package assay

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"ingot/layers"
	"ingot/qemu-tests/verdict"
)

// stage is where in an assay a check is made.
type stage int

const (
	outside   stage = iota // by a stranger, beside what is made inside
	inside                 // by a root shell, several at a time
	flood                  // by a stranger whose packets fill the log: after both
	logins                 // last of all, because sshd shuts out an address after a few refusals
	rebooted               // after the reboot
	console                // when all is over
	deep                   // with the tools of others
	deepLast               // the same, after the logins
	scenarios              // on a machine of its own
)

// check is one thing that an assay looks at, of a layer or its own.
type check struct {
	id, layer, title string
	stage            stage
	// sabotage is a shell command that root runs on a healthy machine, after
	// which the check must fail. For what is looked at after a reboot it runs
	// before it, and for sabotagedLate after it.
	sabotage      string
	sabotagedLate bool
	// make returns what was seen; errUnmet is in the error of a promise that
	// was not kept.
	make func(context.Context, *run) (string, error)
}

// catalogue is every check that an assay of a plan can make, in the order of
// its report.
func catalogue(plan layers.Plan) []check {
	list := internetChecks()
	for _, c := range plan.Checks {
		list = append(list, planned(c))
	}
	for _, c := range plan.Checks {
		if c.SurvivesReboot {
			list = append(list, survivor(c))
		}
	}
	list = append(list, forwardingCheck())
	if hasLocked(plan) {
		list = append(list, digestsCheck())
	}
	list = append(list, rebootChecks()...)
	list = append(list, consoleCheck())
	list = append(list, deepChecks()...)
	slices.SortStableFunc(list, func(a, b check) int { return rank(list, a.layer) - rank(list, b.layer) })
	for _, s := range scenariosOf(plan) {
		list = append(list, s.check())
	}
	return list
}

// rank puts the checks of one layer together, where the first of them is.
func rank(list []check, layer string) int {
	return slices.IndexFunc(list, func(c check) bool { return c.layer == layer })
}

// survivor is a check that is made again after the reboot.
func survivor(c layers.Check) check {
	k := planned(c)
	k.id, k.title = k.id+".after-reboot", k.title+", after a reboot too"
	k.stage, k.sabotagedLate = rebooted, true
	return k
}

// planned is a check that a layer brought.
func planned(c layers.Check) check {
	k := check{id: c.ID, layer: c.Layer, title: c.Title, sabotage: c.Sabotage, stage: inside,
		make: func(ctx context.Context, r *run) (string, error) { return r.one(ctx, c) }}
	switch {
	case c.SSHAuth != nil, c.SSHOffer != nil:
		k.stage = logins
	case c.DropLog != nil:
		k.stage = flood
	case c.Ping != nil:
		k.stage = outside
	}
	return k
}

// internetChecks are the stranger's scans.
func internetChecks() []check {
	var list []check
	for _, family := range []struct {
		name string
		addr func(*Lab) netip.Addr
	}{
		{"ipv4", func(l *Lab) netip.Addr { return l.Machine.IPv4() }},
		{"ipv6", func(l *Lab) netip.Addr { return l.Machine.IPv6() }},
	} {
		list = append(list, check{
			id: "internet.tcp-" + family.name, layer: "internet", title: "TCP over " + family.name + ": only declared ports answer",
			sabotage: "nft insert rule inet ingot inbound tcp dport 8080 accept",
			make:     func(ctx context.Context, r *run) (string, error) { return r.stranger().tcp(ctx, family.addr(r.lab)) },
		}, check{
			id: "internet.udp-" + family.name, layer: "internet", title: "UDP over " + family.name + ": silent to strangers",
			sabotage: "nft insert rule inet ingot inbound udp dport 9999 accept",
			make:     func(ctx context.Context, r *run) (string, error) { return r.stranger().udp(ctx, family.addr(r.lab)) },
		})
	}
	return list
}

// Listed is a check as "ingot test --list" shows it.
type Listed struct {
	ID       string `json:"id"`
	Layer    string `json:"layer"`
	Title    string `json:"title"`
	Suite    string `json:"suite"` // verdict.Standard, Full or Deep
	Sabotage string `json:"sabotage"`
}

// List is what an assay of a plan can look at.
func List(plan layers.Plan) []Listed {
	var list []Listed
	for _, c := range catalogue(plan) {
		list = append(list, Listed{c.id, c.layer, c.title, c.suite(), c.sabotage})
	}
	return list
}

// Names are the ids of what an assay of a plan can look at.
func Names(plan layers.Plan) []string {
	var list []string
	for _, c := range catalogue(plan) {
		list = append(list, c.id)
	}
	return list
}

func (c check) suite() string {
	switch c.stage {
	case scenarios:
		return verdict.Full
	case deep, deepLast:
		return verdict.Deep
	}
	return verdict.Standard
}

// Selection says which checks are made. A name is an id, a layer, a suite or a
// pattern of ids with * and ?.
type Selection struct {
	Suites     []string // those to make beside verdict.Standard
	Only, Skip []string
	// Also are further suites, and ids of checks of other suites, that are to be
	// made: what the policy of ingot.yaml requires.
	Also []string
}

// UnknownCheckError is a name in a [Selection] that means nothing.
type UnknownCheckError string

func (e UnknownCheckError) Error() string {
	return fmt.Sprintf("there is no check %q; ingot test --list has their names", string(e))
}

// Needs says which suites have a check that would be made. It fails when a name
// means nothing for the plan.
func (s Selection) Needs(plan layers.Plan) (suites []string, err error) {
	made, err := s.choose(catalogue(plan))
	for _, c := range made.chosen {
		if !slices.Contains(suites, c.suite()) {
			suites = append(suites, c.suite())
		}
	}
	return suites, err
}

// choice is a catalogue, split into what is made and what is left out on
// request, and the suites that are made as a whole.
type choice struct {
	chosen, skipped []check
	suites          []string
}

func (s Selection) choose(list []check) (choice, error) {
	var made choice
	for _, name := range slices.Concat(s.Only, s.Skip, s.Also) {
		if !slices.ContainsFunc(list, func(c check) bool { return c.named(name) }) {
			return made, UnknownCheckError(name)
		}
	}
	wanted := slices.Concat([]string{verdict.Standard}, s.Suites, s.Also)
	for _, c := range list {
		part, only, skip := c.anyOf(wanted), c.anyOf(s.Only), c.anyOf(s.Skip)
		switch {
		case only && !skip, part && len(s.Only) == 0 && !skip:
			made.chosen = append(made.chosen, c)
		case part, only:
			made.skipped = append(made.skipped, c)
		}
	}
	for _, suite := range []string{verdict.Standard, verdict.Full, verdict.Deep} {
		if !slices.ContainsFunc(list, func(c check) bool {
			return c.suite() == suite && !slices.ContainsFunc(made.chosen, func(m check) bool { return m.id == c.id })
		}) {
			made.suites = append(made.suites, suite)
		}
	}
	return made, nil
}

func (c check) anyOf(names []string) bool { return slices.ContainsFunc(names, c.named) }

func (c check) named(name string) bool {
	matches, err := path.Match(name, c.id)
	return name == c.id || name == c.layer || name == c.suite() || err == nil && matches && strings.ContainsAny(name, "*?[")
}
