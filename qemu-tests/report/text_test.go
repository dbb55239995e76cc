package report

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"ingot/qemu-tests/verdict"
)

func textOf(t *testing.T, v verdict.Verdict, o TextOptions) string {
	t.Helper()
	var s strings.Builder
	if err := Text(&s, v, o); err != nil {
		t.Fatal(err)
	}
	return s.String()
}

func TestTextFits(t *testing.T) {
	t.Parallel()
	for _, name := range samples {
		for _, columns := range []int{40, 80, 132} {
			for _, verbose := range []bool{false, true} {
				for line := range strings.Lines(textOf(t, sample(t, name), TextOptions{Columns: columns, Verbose: verbose, Color: true})) {
					if w := ansi.StringWidth(strings.TrimSuffix(line, "\n")); w > columns {
						t.Errorf("%s, %d columns: a line has %d: %q", name, columns, w, line)
					}
				}
			}
		}
	}
}

// Wide terminals and narrow ones get the same words.
func TestTextKeepsWords(t *testing.T) {
	t.Parallel()
	wide := strings.Fields(textOf(t, sample(t, "error"), TextOptions{Columns: 1000}))
	narrow := strings.Fields(textOf(t, sample(t, "error"), TextOptions{Columns: 90}))
	if strings.Join(wide, " ") != strings.Join(narrow, " ") {
		t.Errorf("at 90 columns the words are\n%q\nand not\n%q", narrow, wide)
	}
}

func TestTextOrder(t *testing.T) {
	t.Parallel()
	s := textOf(t, sample(t, "failed"), TextOptions{})
	last := -1
	for _, want := range []string{
		"FAIL TCP over ipv4", "internet.tcp-ipv4, product", "TCP 8080 answers", "Server: <script>", // in full
		"scenarios.power-cut", "kernel.lockdown, environment", "nftables.ping, flake", // by gravity
		"admin      5 checks passed in", "2 of 3 scenarios passed", "skipped on request", "fail2ban.ban, time.chrony", "FAILED (product) in",
	} {
		i := strings.Index(s, want)
		if i < last {
			t.Errorf("%q is at %d, want it after %d:\n%s", want, i, last, s)
		}
		last = i
	}
}

func TestTextColor(t *testing.T) {
	t.Parallel()
	v := sample(t, "failed")
	without, with := textOf(t, v, TextOptions{Verbose: true}), textOf(t, v, TextOptions{Verbose: true, Color: true})
	if strings.Contains(without, "\x1b") {
		t.Error("there is colour where nobody asked for it")
	}
	if ansi.Strip(with) != without {
		t.Error("colour changes the text")
	}
	for what, want := range map[string]string{
		"a passed check":  green + "ok  " + plain,
		"a failed check":  red + "FAIL" + plain,
		"a flake":         yellow + "FAIL" + plain + "   7.2 s   a stranger's ping",
		"one not made":    yellow + "????" + plain + "   0.2 s   the kernel",
		"the last line's": red + "FAILED" + plain,
	} {
		if !strings.Contains(with, want) {
			t.Errorf("%s mark is not %q", what, want)
		}
	}
}

func TestTextFolds(t *testing.T) {
	t.Parallel()
	v := sample(t, "passed")
	folded, verbose := textOf(t, v, TextOptions{}), textOf(t, v, TextOptions{Verbose: true})
	if !strings.Contains(folded, "sysctl     51 checks passed in 5.4 s\n") || strings.Contains(folded, "kernel.io_uring_disabled") {
		t.Errorf("the layers are not folded:\n%s", folded)
	}
	if got := strings.Count(verbose, "\n  ok  "); got != len(v.Checks) {
		t.Errorf("%d of %d checks are listed", got, len(v.Checks))
	}
}

// What nobody has explained is shown, folded or not.
func TestTextDepth(t *testing.T) {
	t.Parallel()
	for verbose, wants := range map[bool][]string{
		false: {"hardening index 88", "KRNL-6000", "NOBODY SAID WHY", "3 of 4 suggestions have", " 2.6 systemd-networkd.service, has a socket"},
		true:  {"not followed: it answers in the tunnel only", "NOBODY SAID WHY"},
	} {
		s := textOf(t, sample(t, "deep"), TextOptions{Verbose: verbose})
		for _, want := range wants {
			if !strings.Contains(s, want) {
				t.Errorf("verbose %t: the report lacks %q:\n%s", verbose, want, s)
			}
		}
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	one := []verdict.Result{{}}
	for want, l := range map[string]layer{
		"1 check passed":         {Name: "ssh", Results: one, Passed: 1},
		"0 of 1 scenario passed": {Name: verdict.Scenarios, Results: one},
		"1 of 2 checks passed":   {Name: "ssh", Results: append(one, one...), Passed: 1},
		"2 scenarios passed":     {Name: verdict.Scenarios, Results: append(one, one...), Passed: 2},
	} {
		if got := l.Count(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
