package images

import (
	"fmt"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/layers"
)

func planWith(arguments ...string) layers.Plan {
	plan := layers.Plan{Owner: map[string]string{"kernel argument quiet": "custom/app"}}
	plan.Image.KernelArguments = arguments
	for _, a := range arguments {
		name, _, _ := strings.Cut(a, "=")
		plan.Owner["kernel argument "+name] = "custom/app"
	}
	return plan
}

func TestCheckArguments(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ argument, want string }{
		{"quiet", ""},
		{"console=ttyS0,115200n8", ""},
		{"memmap=64K$0x18690000", ""}, // GRUB expands nothing within single quotes
		{"dyndbg=+p;-f", ""},
		{"systemd.verity_root_options=panic-on-corruption", ""},
		{"a='; reboot; set b='", "a blank, a quote"},
		{"a'b", "a blank, a quote"},
		{`a="b"`, "a blank, a quote"},
		{`a=\x`, "a blank, a quote"},
		{"a=b c", "a blank, a quote"},
		{"a=b\troothash=0", "a blank, a quote"},
		{"a=b\nreboot", "a blank, a quote"},
		{"a=\x00", "a blank, a quote"},
		{"a=é", "a blank, a quote"},
		{"", "a blank, a quote"},
		{"roothash=" + digits("0"), "the sealed root depends on it"},
		{"root=/dev/sda", "the sealed root depends on it"},
		{"rw", "the sealed root depends on it"},
		{"init=/bin/sh", "the sealed root depends on it"},
		{"systemd.verity=no", "the sealed root depends on it"},
		{"token=ghp_" + strings.Repeat("a", 36), `"token" holds a GitHub token`},
		{"a=" + strings.Repeat("b", 2048), "the kernel takes 1792"},
	} {
		err := checkArguments(planWith(tc.argument))
		if tc.want == "" {
			if err != nil {
				t.Errorf("%q: %v", tc.argument, err)
			}
			continue
		}
		if fault.Of(err) != fault.OfInput || !strings.Contains(fmt.Sprint(err), tc.want) {
			t.Errorf("%q: %v, want %q as the input's fault", tc.argument, err, tc.want)
		}
		if strings.Contains(fmt.Sprint(err), "ghp_") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

func TestCheckArgumentsSaysAllWithTheirLayers(t *testing.T) {
	t.Parallel()
	plan := planWith("a'", "quiet", "b b")
	delete(plan.Owner, "kernel argument b b")
	err := checkArguments(plan)
	if got := strings.Count(fmt.Sprint(err), "\n") + 1; got != 2 {
		t.Errorf("%d refusals, want 2:\n%v", got, err)
	}
	if !strings.Contains(fmt.Sprint(err), `layer custom/app: kernel argument "a'"`) || !strings.Contains(fmt.Sprint(err), `layer unknown: kernel argument "b b"`) {
		t.Error(err)
	}
}

func TestSlotCfg(t *testing.T) {
	t.Parallel()
	got := string(slotCfg(digits("a"), []string{"quiet", "memmap=1$2"}))
	want := "set ingot_cmdline='root=/dev/mapper/root rootfstype=erofs ro roothash=" + digits("a") + " quiet memmap=1$2'\n"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
