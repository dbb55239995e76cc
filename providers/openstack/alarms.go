package openstack

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"

	"ingot/fault"
	"ingot/providers"
)

// Metrics implements providers.Monitor.
func (p *Provider) Metrics() (all []providers.Metric) {
	if p.alarming == nil {
		return nil
	}
	for _, w := range watches() {
		if !slices.Contains(all, w.metric) {
			all = append(all, w.metric)
		}
	}
	return all
}

// Alarms implements providers.Monitor. Where the alarms for what is received and what
// is sent are not both there and alike, as after an interruption, they are shown one by
// one under their own names: they are not what anybody wanted.
func (p *Provider) Alarms(ctx context.Context, server providers.Server) ([]providers.Alarm, error) {
	if err := p.needAlarming(); err != nil {
		return nil, err
	}
	m, err := p.serverMark(ctx, server)
	if err != nil {
		return nil, err
	}
	ours, err := p.ourAlarms(ctx, m)
	if err != nil || len(ours) == 0 {
		return nil, err
	}
	s, err := p.sizeOf(ctx, server)
	if err != nil {
		return nil, err
	}
	var list []providers.Alarm
	for _, metric := range p.Metrics() {
		list = append(list, alarmsOf(metric, ours, m, s)...)
	}
	return list, nil
}

// alarmsOf reads the alarms about a metric.
func alarmsOf(metric providers.Metric, ours []aodhAlarm, m mark, s size) (list []providers.Alarm) {
	wanted, whole := 0, true
	for _, w := range watches() {
		if w.metric != metric {
			continue
		}
		wanted++
		for _, a := range ours {
			if a.Name == w.alarmName(m) && a.rule() != nil {
				list = append(list, w.read(a, s))
			}
		}
	}
	for n := range list {
		whole = whole && equal(list[n], list[0])
	}
	if whole && len(list) == wanted && wanted > 0 {
		list = list[:1]
		list[0].Metric = metric
	}
	return list
}

func equal(a, b providers.Alarm) bool {
	return a.Above == b.Above && a.For == b.For && sameSet(a.Notify, b.Notify)
}

// SetAlarms implements providers.Monitor.
func (p *Provider) SetAlarms(ctx context.Context, server providers.Server, want []providers.Alarm, journal *providers.Entry) error {
	if err := p.needAlarming(); err != nil {
		return err
	}
	if err := p.checkAlarms(want); err != nil {
		return err
	}
	m, err := p.serverMark(ctx, server)
	if err != nil {
		return err
	}
	ours, err := p.ourAlarms(ctx, m)
	if err != nil || len(ours)+len(want) == 0 {
		return err
	}
	s, err := p.sizeOf(ctx, server)
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, wanted := range wantedAlarms(want, m, server.ID, s) {
		n := slices.IndexFunc(ours, func(a aodhAlarm) bool { return a.Name == wanted.Name })
		switch {
		case n < 0:
			err = p.ensureAlarm(ctx, m, wanted, journal)
		case !ours[n].same(wanted):
			err = p.putAlarm(ctx, ours[n].ID, wanted)
		}
		if err != nil {
			return err
		}
		if n >= 0 {
			keep[ours[n].ID] = true
		}
	}
	for _, a := range ours {
		if keep[a.ID] {
			continue
		}
		if err := p.Delete(ctx, providers.Resource{Kind: kindAlarm, ID: a.ID, Name: a.Name}); err != nil {
			return err
		}
	}
	return nil
}

// checkAlarms says what cannot be.
func (p *Provider) checkAlarms(want []providers.Alarm) error {
	for n, a := range want {
		percent := a.Metric == providers.CPU || a.Metric == providers.Memory
		switch {
		case !slices.Contains(p.Metrics(), a.Metric):
			return fault.Input(fmt.Errorf("OpenStack does not see %q from outside, only %s: %w", a.Metric, p.Metrics(), providers.ErrUnsupported))
		case slices.ContainsFunc(want[:n], func(b providers.Alarm) bool { return b.Metric == a.Metric }):
			return fault.Input(fmt.Errorf("there are two alarms about %s, and one is possible", a.Metric))
		case !(a.Above >= 0) || math.IsInf(a.Above, 1) || percent && a.Above >= 100:
			return fault.Input(fmt.Errorf("%s is never above %g; give a threshold that it can pass", a.Metric, a.Above))
		}
		for _, address := range a.Notify {
			if err := checkAddress(address); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkAddress does not repeat an address: many have a secret in them.
func checkAddress(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return fault.Input(errors.New("one of the addresses that alarms are sent to is no URL"))
	case u.Scheme == "mailto":
		return fault.Input(errors.New("OpenStack's alarms cannot be sent by mail; give an http or https URL that takes a POST"))
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fault.Input(fmt.Errorf("OpenStack's alarms cannot be sent to %q addresses; give an http or https URL that takes a POST", u.Scheme))
	}
	return nil
}
