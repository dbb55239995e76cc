package main

import (
	"context"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// The configs of these tests are scripts, see fakeIgnition.
const (
	claw1 = "echo claw1 >$root/etc/hostname\nmkdir -p $root/etc/ssh/authorized_keys.d\necho key1 >$root/etc/ssh/authorized_keys.d/admin\n"
	claw2 = "echo claw2 >$root/etc/hostname\n"
)

// What the identities made from them hold.
var (
	none          map[string]string
	claw1Identity = map[string]string{"hostname": "claw1\n", "ssh/authorized_keys.d/admin": "key1\n"}
	claw2Identity = map[string]string{"hostname": "claw2\n"}
)

const (
	fromFWCfg  = "QEMU fw_cfg opt/com.coreos/config"
	fromKept   = "the last good config on ingot-var"
	noFWCfg    = fromFWCfg + ": not present"
	noESP      = "the ESP's /instance.ign: not present"
	noCidata   = "a volume labelled cidata: not present"
	noConfig2  = "a volume labelled config-2: not present"
	noMetadata = "the metadata service: this machine has no network card"
	noKept     = fromKept + ": not present"
	refusal    = fromFWCfg + ": ignition's files stage refused the config: CRITICAL : no such user"
	badConfig  = "echo half >$root/etc/hostname\necho 'CRITICAL : no such user'\nexit 1\n"
	notAllowed = "; allowed are only the paths in /usr/lib/ingot/identity.list"
)

// elsewhere is what the places after fw_cfg say in these tests.
var elsewhere = []string{noESP, noCidata, noConfig2, noMetadata}

// tried is what a boot reports that had this to say first and nothing in the
// other places.
func tried(first string, last ...string) []string {
	return slices.Concat([]string{first}, elsewhere, last)
}

// An earlier boot with claw1 went well.
func afterClaw1(t *testing.T) {
	t.Helper()
	deliver(t, claw1)
	if r := settle(context.Background(), testAllowlist(t), hashA); !r.Applied {
		t.Fatalf("the first boot failed: %+v", r)
	}
	reboot(t)
}

func TestSettle(t *testing.T) {
	for _, tc := range []struct {
		name     string
		before   func(t *testing.T)
		config   string // in fw_cfg
		rootHash string
		want     report
		ran      bool // Ignition ran
		identity map[string]string
	}{
		{
			name: "no config, no identity", rootHash: hashA,
			want:     report{Tried: tried(noFWCfg, noKept)},
			identity: none,
		},
		{
			name: "first config", config: claw1, rootHash: hashA,
			want: report{Configured: true, Applied: true, Source: fromFWCfg}, ran: true,
			identity: claw1Identity,
		},
		{
			name: "config unchanged", before: afterClaw1, config: claw1, rootHash: hashA,
			want:     report{Configured: true, Source: fromFWCfg},
			identity: claw1Identity,
		},
		{
			name: "config changed", before: afterClaw1, config: claw2, rootHash: hashA,
			want: report{Configured: true, Applied: true, Source: fromFWCfg}, ran: true,
			identity: claw2Identity,
		},
		{
			name: "config gone, same image", before: afterClaw1, rootHash: hashA,
			want:     report{Configured: true, Source: fromKept, Tried: tried(noFWCfg)},
			identity: claw1Identity,
		},
		{
			name: "config gone, new image", before: afterClaw1, rootHash: hashB,
			want: report{Configured: true, Applied: true, Source: fromKept, Tried: tried(noFWCfg)}, ran: true,
			identity: claw1Identity,
		},
		{
			name: "same config, new image", before: afterClaw1, config: claw1, rootHash: hashB,
			want: report{Configured: true, Applied: true, Source: fromFWCfg}, ran: true,
			identity: claw1Identity,
		},
		{
			name: "bad config, no identity", config: badConfig, rootHash: hashA,
			want: report{Tried: tried(refusal, noKept)}, ran: true,
			identity: none,
		},
		{
			name: "bad config, last good stays", before: afterClaw1, config: badConfig, rootHash: hashA,
			want: report{Configured: true, Kept: true, Source: fromKept, Tried: tried(refusal)}, ran: true,
			identity: claw1Identity,
		},
		{
			name: "bad config and new image, last good stays", before: afterClaw1, config: badConfig, rootHash: hashB,
			want: report{Configured: true, Kept: true, Applied: true, Source: fromKept, Tried: tried(refusal)}, ran: true,
			identity: claw1Identity,
		},
		{
			name: "reprovision asked", before: func(t *testing.T) { afterClaw1(t); write(t, reprovisionFile, "") },
			config: claw1, rootHash: hashA,
			want: report{Configured: true, Applied: true, Source: fromFWCfg}, ran: true,
			identity: claw1Identity,
		},
		{
			name: "reprovision asked, config gone", before: func(t *testing.T) { afterClaw1(t); write(t, reprovisionFile, "") },
			rootHash: hashA,
			want:     report{Configured: true, Applied: true, Source: fromKept, Tried: tried(noFWCfg)}, ran: true,
			identity: claw1Identity,
		},
		{
			name: "stamp cut short", before: func(t *testing.T) { afterClaw1(t); must(t, os.Truncate(identityDir+"/stamp.json", 20)) },
			rootHash: hashA,
			want:     report{Configured: true, Applied: true, Source: fromKept, Tried: tried(noFWCfg)}, ran: true,
			identity: claw1Identity,
		},
		{
			name: "identity lost its etc", before: func(t *testing.T) { afterClaw1(t); must(t, os.RemoveAll(identityDir+"/etc")) },
			config: claw1, rootHash: hashA,
			want: report{Configured: true, Applied: true, Source: fromFWCfg}, ran: true,
			identity: claw1Identity,
		},
		{
			name: "kept config is a pipe", before: func(t *testing.T) {
				must(t, os.Mkdir(identityDir, 0o700))
				must(t, unix.Mkfifo(identityDir+"/instance.ign", 0o600))
			},
			rootHash: hashA,
			want:     report{Tried: tried(noFWCfg, noKept)},
			identity: none,
		},
		{
			name: "left-overs of a cut attempt", before: func(t *testing.T) {
				write(t, identityDir+".new/etc/systemd/system/evil.service", "")
				write(t, identityDir+".new/stamp.json", "{}")
			},
			config: claw1, rootHash: hashA,
			want: report{Configured: true, Applied: true, Source: fromFWCfg}, ran: true,
			identity: claw1Identity,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			enterInitrd(t)
			if tc.before != nil {
				tc.before(t)
			}
			deliver(t, tc.config)
			got := settle(context.Background(), testAllowlist(t), tc.rootHash)
			tc.want.Platform = "qemu"
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
			if ignitionRan() != tc.ran {
				t.Errorf("ignition ran: %v, want %v", ignitionRan(), tc.ran)
			}
			expectIdentity(t, tc.identity)
			if got.Applied {
				expectApplied(t, tc.rootHash)
			}
		})
	}
}

// expectIdentity compares the identity's /etc, file by file.
func expectIdentity(t *testing.T, want map[string]string) {
	t.Helper()
	got := none
	if exists(identityDir + "/etc") {
		got = contents(t, identityDir+"/etc")
	}
	if !maps.Equal(got, want) {
		t.Errorf("the identity holds %q, want %q", got, want)
	}
}

// expectApplied checks what an application leaves besides the identity itself.
func expectApplied(t *testing.T, rootHash string) {
	t.Helper()
	config := read(t, identityDir+"/instance.ign")
	if got := readStamp(identityDir); got != newStamp(rootHash, []byte(config)) {
		t.Errorf("the stamp says %+v", got)
	}
	info, err := os.Stat(identityDir + "/instance.ign")
	must(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("the kept config has mode %v", info.Mode())
	}
	for _, p := range []string{identityDir + ".new", identityDir + "/work", reprovisionFile} {
		if exists(p) {
			t.Errorf("%s is left over", p)
		}
	}
}

// A config that is refused is not forgotten: what asked for it stays.
func TestReprovisionStaysAskedAfterRefusal(t *testing.T) {
	enterInitrd(t)
	afterClaw1(t)
	write(t, reprovisionFile, "")
	deliver(t, badConfig)
	if r := settle(context.Background(), testAllowlist(t), hashA); !r.Kept || !exists(reprovisionFile) {
		t.Errorf("kept %v, still asked %v", r.Kept, exists(reprovisionFile))
	}
}

func TestPlatformOfKernelArgument(t *testing.T) {
	enterInitrd(t)
	write(t, cmdline, "roothash="+hashA+" ignition.platform.id=hetzner\n")
	if r := settle(context.Background(), testAllowlist(t), hashA); r.Platform != "hetzner" {
		t.Errorf("platform %q", r.Platform)
	}
}
