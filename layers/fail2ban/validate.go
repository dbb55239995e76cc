package fail2ban

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"time"

	"ingot/layers"
)

// Limits of [Options]. A ban or a memory of less than a minute stops nobody;
// one of more than a year outlives what the journal keeps and what an address
// means. More than 100 tries are no longer a limit.
const (
	minDuration = time.Minute
	maxDuration = 365 * 24 * time.Hour
	maxRetry    = 100
	maxBans     = 100
)

var (
	durationShape = regexp.MustCompile(`^([0-9]{1,8})([smhdw])$`)
	durationUnits = map[string]time.Duration{
		"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
	}
)

// Validate implements [layers.Layer].
func (l Layer) Validate(layers.Site) []layers.Finding {
	v := validator{}
	o := l.Options
	if o.MaxRetry < 0 || o.MaxRetry > maxRetry {
		v.report(fmt.Sprintf("%d failures is not a limit", o.MaxRetry), fmt.Sprintf("use a number from 1 to %d, or leave it out for %d", maxRetry, DefaultMaxRetry), "maxRetry")
	}
	if b := o.Recidive.Bans; b < 0 || b == 1 || b > maxBans {
		v.report(fmt.Sprintf("%d bans is not a second tier", b), fmt.Sprintf("use a number from 2 to %d, or leave it out for %d", maxBans, DefaultBans), "recidive", "bans")
	}
	v.duration(o.FindTime, "findTime")
	ban := v.duration(l.banTime(), "banTime")
	find := v.duration(l.recidiveFindTime(), "recidive", "findTime")
	long := v.duration(l.recidiveBanTime(), "recidive", "banTime")
	v.tiers(l.bans(), ban, find, long)
	for i, text := range o.Ignore {
		v.ignore(i, text)
	}
	return v.findings
}

type validator struct{ findings []layers.Finding }

func (v *validator) report(message, advice string, path ...any) {
	v.findings = append(v.findings, layers.Finding{Path: path, Message: message, Advice: advice})
}

// duration is 0 for a wrong or empty value.
func (v *validator) duration(text string, path ...any) time.Duration {
	if text == "" {
		return 0
	}
	d, ok := parseDuration(text)
	switch {
	case !ok:
		v.report(fmt.Sprintf("%q is not a duration", clip(text)), "write a whole number and one of s, m, h, d, w, such as 24h", path...)
	case d < minDuration || d > maxDuration:
		v.report(fmt.Sprintf("%s is too short or too long", text), "use 1m to 365d", path...)
	default:
		return d
	}
	return 0
}

func parseDuration(text string) (time.Duration, bool) {
	m := durationShape.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, err := strconv.Atoi(m[1])
	d := time.Duration(n) * durationUnits[m[2]]
	return d, err == nil && d/durationUnits[m[2]] == time.Duration(n)
}

// tiers finds second tiers that could never fire or would do nothing. Zero
// durations are wrong and reported already.
func (v *validator) tiers(bans int, ban, find, long time.Duration) {
	if ban == 0 || find == 0 || long == 0 || bans < 2 || bans > maxBans {
		return
	}
	// Each ban ends before the next one starts.
	if least := time.Duration(bans-1) * ban; find <= least {
		v.report(fmt.Sprintf("the second tier could never fire: %d bans take longer than %s", bans, least),
			"let recidive.findTime be longer than banTime times one less than recidive.bans", "recidive", "findTime")
	}
	if long <= ban {
		v.report("the second tier's ban is not longer than the first's", "let recidive.banTime be longer than banTime", "recidive", "banTime")
	}
}

func (v *validator) ignore(i int, text string) {
	const example = "write an address or a subnet, such as 198.51.100.7 or 2001:db8::/48"
	prefix, err := netip.ParsePrefix(text)
	if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
		prefix, err = netip.PrefixFrom(addr.WithZone(""), addr.BitLen()), nil
		if addr.Zone() != "" {
			err = fmt.Errorf("%s has a zone", text)
		}
	}
	switch {
	case err != nil || prefix.Addr().Is4In6():
		v.report(fmt.Sprintf("%q is not an address or a subnet", clip(text)), example, "ignore", i)
	case prefix.Bits() == 0:
		v.report(fmt.Sprintf("nobody would ever be banned: %s is everybody", text), example, "ignore", i)
	case prefix != prefix.Masked():
		v.report(fmt.Sprintf("%s has bits set behind its length", text), "write "+prefix.Masked().String(), "ignore", i)
	}
}

// clip cuts a value to what fits into a message.
func clip(s string) string {
	if runes := []rune(s); len(runes) > 40 {
		return string(runes[:39]) + "…"
	}
	return s
}
