package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ingot/fault"
	"ingot/providers"
)

func monitoringCommand(c *console) *cobra.Command {
	monitoring := &cobra.Command{
		Use:   "monitoring",
		Short: "Compare the provider's alarms about a server with what they should be, and make them equal",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknown(cmd, args[0])
		},
	}
	monitoring.AddCommand(monitoringVerb(c, "plan", "Show what apply would change", c.planAlarms), monitoringVerb(c, "apply", "Have the provider watch the server", c.applyAlarms))
	return monitoring
}

// alarmFlags are the thresholds; 0 is no alarm.
type alarmFlags struct {
	above  map[providers.Metric]*float64
	length time.Duration
	notify []string
}

// The defaults are about a server that is in trouble, not one that works: a CPU that is
// busy for ten minutes, memory and disk that are about to be full, and more traffic
// than a small server has to itself at most providers (a tenth of a gigabit).
func (f *alarmFlags) register(cmd *cobra.Command) {
	f.above = map[providers.Metric]*float64{}
	for _, m := range []struct {
		metric providers.Metric
		above  float64
		what   string
	}{
		{providers.CPU, 90, "percent of all CPUs"},
		{providers.Memory, 90, "percent of the memory"},
		{providers.Disk, 85, "percent of the state's file system"},
		{providers.Network, 12, "MiB a second, in either direction"},
	} {
		f.above[m.metric] = cmd.Flags().Float64(string(m.metric), m.above, "alarm above this: "+m.what+"; 0 is no alarm")
	}
	cmd.Flags().DurationVar(&f.length, "for", 10*time.Minute, "how long it must be above, in steps of 5m")
	cmd.Flags().StringArrayVar(&f.notify, "notify", nil, "who is told: a URL that gets a POST, or mailto:ADDRESS, as the provider can; can be repeated")
}

// alarms are what the flags ask for.
func (f *alarmFlags) alarms() ([]providers.Alarm, error) {
	var list []providers.Alarm
	notify := slices.Compact(slices.Sorted(slices.Values(f.notify))) // as providers list them
	for _, m := range providers.Metrics() {
		above := *f.above[m]
		if !(above >= 0) || above > 100 && m != providers.Network || math.IsInf(above, 0) { // not a number, too
			return nil, fault.Input(fmt.Errorf("--%s %g: percent are 1 to 100, and 0 is no alarm", m, above))
		}
		if above > 0 {
			list = append(list, providers.Alarm{Metric: m, Above: above, For: f.length, Notify: notify})
		}
	}
	switch {
	case f.length < alarmStep || f.length > 24*time.Hour || f.length%alarmStep != 0:
		return nil, fault.Input(fmt.Errorf("--for %s: 5m to 24h, in steps of 5m", f.length))
	case len(f.notify) == 0 && len(list) > 0:
		return nil, fault.Input(errors.New("an alarm that nobody hears is none: say with --notify who is told, a URL or mailto:ADDRESS"))
	}
	for _, to := range f.notify {
		// It is not repeated: many such URLs have a secret in them.
		if u, err := url.Parse(to); err != nil || u.Scheme != "mailto" && (u.Scheme != "https" && u.Scheme != "http" || u.Host == "") {
			return nil, fault.Input(errors.New("--notify: write a URL with https://, or mailto:ADDRESS"))
		}
	}
	return list, nil
}

// alarmStep is how often clouds measure (Ceilometer's default).
const alarmStep = 5 * time.Minute

// asked are the metrics whose thresholds somebody has written.
func asked(cmd *cobra.Command) (list []providers.Metric) {
	for _, m := range providers.Metrics() {
		if cmd.Flags().Changed(string(m)) {
			list = append(list, m)
		}
	}
	return list
}

// monitoringVerb is plan or apply.
func monitoringVerb(c *console, name, short string, work func(context.Context, providers.Monitor, providers.Server, []providers.Alarm) (providers.AlarmPlan, error)) *cobra.Command {
	var f providerFlags
	var alarms alarmFlags
	cmd := &cobra.Command{
		Use:   name + " [DIR]",
		Short: short,
		Long: short + `. "+" is made, "-" is removed,
"=" is as it should be, "!" is what the provider has no way to watch. Alarms that Ingot
did not make stay.`,
		Example:           "  ingot monitoring " + name + " --provider openstack --notify https://example.org/alarm",
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(cmd *cobra.Command, args []string) error {
			loaded, err := c.read(folderOf(args))
			if err != nil {
				return err
			}
			want, err := alarms.alarms()
			if err != nil {
				return err
			}
			p, err := f.open(cmd.Context(), c)
			if err != nil {
				return err
			}
			monitor, ok := p.(providers.Monitor)
			if !ok || len(monitor.Metrics()) == 0 {
				return fault.Input(fmt.Errorf("alarms are unsupported by %s: it has none that Ingot can set", p.Name()))
			}
			server, err := find(cmd.Context(), p, f.serverName(loaded))
			if err != nil {
				return err
			}
			if err := supported(asked(cmd), want, monitor, p.Name()); err != nil {
				return err
			}
			plan, err := work(cmd.Context(), monitor, server, want)
			if err != nil {
				return err
			}
			if c.json {
				return c.document(plan)
			}
			return c.write([]byte(plan.Text(p.Name())))
		},
	}
	f.register(cmd)
	f.registerServer(cmd)
	alarms.register(cmd)
	return cmd
}

// supported: a default that a provider cannot watch is said, and one that somebody has
// asked for is an error.
func supported(asked []providers.Metric, want []providers.Alarm, m providers.Monitor, name string) error {
	var cannot []string
	for _, metric := range providers.CompareAlarms(want, nil, m.Metrics()).Unsupported {
		if slices.Contains(asked, metric) {
			cannot = append(cannot, "--"+string(metric))
		}
	}
	if len(cannot) == 0 {
		return nil
	}
	return fault.Input(fmt.Errorf("%s: unsupported by %s", strings.Join(cannot, ", "), name))
}

func (c *console) planAlarms(ctx context.Context, m providers.Monitor, s providers.Server, want []providers.Alarm) (providers.AlarmPlan, error) {
	have, err := m.Alarms(ctx, s)
	return providers.CompareAlarms(want, have, m.Metrics()), err
}

func (c *console) applyAlarms(ctx context.Context, m providers.Monitor, s providers.Server, want []providers.Alarm) (providers.AlarmPlan, error) {
	plan, err := c.planAlarms(ctx, m, s, want)
	if err != nil {
		return plan, err
	}
	return plan, m.SetAlarms(ctx, s, append(plan.Keep, plan.Add...), nil)
}
