package assay

import (
	"context"

	"ingot/layers"
)

// survivors makes the checks again that must hold after a reboot, too.
func (r *run) survivors(ctx context.Context) {
	for _, c := range r.id.Plan.Checks {
		if !c.SurvivesReboot {
			continue
		}
		r.check(ctx, c.Layer, c.ID+".after-reboot", c.Title+", after a reboot too", func() (string, error) {
			ctx, cancel := context.WithTimeout(ctx, r.lab.Timeout(bootTime))
			defer cancel()
			return r.anyOf(ctx, c)
		})
	}
}

// anyOf makes a check of any verb.
func (r *run) anyOf(ctx context.Context, c layers.Check) (string, error) {
	switch {
	case c.Ping != nil:
		return outside{r.lab, r.id.Plan}.ping(ctx, *c.Ping)
	case c.SSHAuth != nil:
		return r.auth(ctx, *c.SSHAuth)
	}
	return r.one(ctx, c)
}
