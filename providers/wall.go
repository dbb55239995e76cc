package providers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ingot/fault"
)

// Wall is a provider's firewall before one server. It lets out what the server
// sends; only what comes in is managed.
type Wall interface {
	// Read returns what is there now.
	Read(ctx context.Context) (State, error)
	// Change adds rules, then removes others, so that what is in both is never
	// closed. A rule that is there already and one that is gone are no errors.
	Change(ctx context.Context, add []Rule, remove []Installed) error
	// Activate has the wall drop what no rule lets in. It is called when all rules
	// are there.
	Activate(ctx context.Context) error
}

// State is what a wall does.
type State struct {
	Active bool // it drops what no rule lets in
	Rules  []Installed
}

// Installed is a rule of a wall.
type Installed struct {
	Rule
	ID    string `json:"id"`    // the provider's, empty where rules have none
	Owned bool   `json:"owned"` // Ingot made it
	// Opaque is a rule that this program cannot express, in the provider's words;
	// the Rule is empty then. It is never taken for one of ours.
	Opaque string `json:"opaque,omitempty"`
}

func (i Installed) String() string {
	if i.Opaque != "" {
		return i.Opaque
	}
	return i.Rule.String()
}

// Plan is how to get from what a wall does to what it shall do.
type Plan struct {
	Add    []Rule      `json:"add"`
	Remove []Installed `json:"remove"`
	Keep   []Rule      `json:"keep"`
	// Foreign rules are others' and stay.
	Foreign  []Installed `json:"foreign"`
	Activate bool        `json:"activate"`
}

// Empty reports whether all is as it shall be.
func (p Plan) Empty() bool { return len(p.Add) == 0 && len(p.Remove) == 0 && !p.Activate }

// Compare plans the way from have to want. Rules that Ingot did not make stay, and
// count for nothing, unless exclusive says that they shall go. A rule that does the
// right thing and is somebody else's is left to them, and ours is put beside it.
func Compare(want []Rule, have State, exclusive bool) Plan {
	p := Plan{Activate: !have.Active}
	there := func(r Rule) bool {
		return slices.ContainsFunc(have.Rules, func(i Installed) bool {
			return i.Opaque == "" && i.Does(r) && (i.Owned || exclusive)
		})
	}
	for _, r := range want {
		if there(r) {
			p.Keep = append(p.Keep, r)
		} else {
			p.Add = append(p.Add, r)
		}
	}
	var kept []Rule
	for _, i := range have.Rules {
		wanted := i.Opaque == "" && slices.ContainsFunc(want, i.Does)
		switch {
		case !i.Owned && !exclusive:
			p.Foreign = append(p.Foreign, i)
		case wanted && !slices.ContainsFunc(kept, i.Does):
			kept = append(kept, i.Rule) // the second of two equal ones goes
		default:
			p.Remove = append(p.Remove, i)
		}
	}
	return p
}

// Text shows a plan to people: a line a rule, "+" for what is opened, "-" for what
// is closed.
func (p Plan) Text() string {
	var b strings.Builder
	line := func(sign string, what fmt.Stringer, why string) {
		fmt.Fprintf(&b, "%s %s", sign, what)
		if why != "" {
			fmt.Fprintf(&b, "  # %s", why)
		}
		b.WriteByte('\n')
	}
	for _, r := range p.Add {
		line("+", r, r.Why)
	}
	for _, i := range p.Remove {
		line("-", i, i.Why)
	}
	for _, r := range p.Keep {
		line("=", r, r.Why)
	}
	for _, i := range p.Foreign {
		line("?", i, "not made by Ingot, stays; --exclusive removes it")
	}
	if p.Activate {
		b.WriteString("! the firewall is not active, and will be\n")
	}
	return b.String()
}

// settle is how long what an API has accepted may take to be seen, and a variable
// for tests.
var settle = struct{ deadline, pause time.Duration }{2 * time.Minute, time.Second}

// Apply makes a wall do what is wanted: opens, closes, switches on, and reads again
// until it is so.
func Apply(ctx context.Context, w Wall, want []Rule, exclusive bool) (Plan, error) {
	have, err := w.Read(ctx)
	if err != nil {
		return Plan{}, err
	}
	plan := Compare(want, have, exclusive)
	if len(plan.Add) > 0 || len(plan.Remove) > 0 {
		if err := w.Change(ctx, plan.Add, plan.Remove); err != nil {
			return plan, err
		}
	}
	if plan.Activate {
		if err := w.Activate(ctx); err != nil {
			return plan, err
		}
	}
	return plan, await(ctx, w, want, exclusive)
}

// await reads until nothing is left to do: some providers show what was a while
// after they have accepted what shall be.
func await(ctx context.Context, w Wall, want []Rule, exclusive bool) error {
	ctx, cancel := context.WithTimeout(ctx, settle.deadline)
	defer cancel()
	for {
		have, err := w.Read(ctx)
		left := Compare(want, have, exclusive)
		if err == nil && left.Empty() {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			if err == nil {
				err = fmt.Errorf("it still shows\n%s", left.Text())
			}
			return fault.Provider(fmt.Errorf("the provider has accepted the firewall and does not show it: %w; run \"ingot firewall plan\" to see how it stands", err))
		case <-time.After(settle.pause):
		}
	}
}
