package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ingot/images"
)

var variations = flag.Bool("variations", false, "the tests run that build from nothing: TestVariations, TestEndedAnywhere, TestColdBuildsAtOnce")

func skipUnlessVariations(t *testing.T) {
	t.Helper()
	if !*variations {
		t.Skip("it builds from nothing, several times; make variations runs it")
	}
}

// The stages that make an image when only packages are there, in the order in which
// they begin, and those that have to be made where trees and Ignition are there.
var (
	allStages  = []string{"base", "compiler", "ignition", "tools", "boot", "initrd", "initramfs", "contents", "root"}
	warmStages = []string{"initramfs", "contents", "root"}
)

// variation is what is otherwise than in an ordinary build: one thing, or several.
type variation struct {
	name   string
	folder string   // name of the folder with ingot.yaml, if that varies
	cold   bool     // nothing but the packages is there
	env    []string // of the build
	asRoot string   // shell commands in a mount and UTS namespace of the variation's own; the folder $W is for them
	around []string // programs that run the build
	before string   // shell commands just before the build
	proof  string   // a shell condition that holds when the variation is in force
	after  string   // the same, when the build is done
	user   bool     // it is built by the user of userCommands
	// with is the variation, a user's, whose cache this one takes.
	with string
}

// together varies several things at once.
func together(name string, all ...variation) variation {
	one := variation{name: name, proof: "true", after: "true"}
	for _, v := range all {
		one.folder += v.folder
		one.env = append(one.env, v.env...)
		one.asRoot += v.asRoot
		one.around = append(one.around, v.around...)
		one.before += v.before
		one.proof += " && " + v.proof
		if v.after != "" {
			one.after += " && " + v.after
		}
	}
	return one
}

// The account that builds as an ordinary user. It exists only where the build
// runs; the ids belong to nobody on a usual machine.
const (
	userID   = 29999
	firstSub = 2900000000
)

// userCommands make the account, and let it read Go's modules.
var userCommands = fmt.Sprintf(`
mkdir "$W/etc" "$W/etc.work" "$W/home" "$W/modules"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$W/etc,workdir=$W/etc.work" /etc
echo "ingot-test:x:%[1]d:%[1]d::$W/home:/bin/sh" >>/etc/passwd
echo "ingot-test:x:%[1]d:" >>/etc/group
echo "ingot-test:%[2]d:65536" >/etc/subuid
echo "ingot-test:%[2]d:65536" >/etc/subgid
chown %[1]d:%[1]d "$W/home"
mount --bind "$(go env GOMODCACHE)" "$W/modules"
export HOME="$W/home" GOMODCACHE="$W/modules" GOPROXY=off GOENV=off
`, userID, firstSub)

var asUser = []string{"setpriv", "--reuid=" + strconv.Itoa(userID), "--regid=" + strconv.Itoa(userID), "--clear-groups"}

// ahead is a library that has the clock of every program that asks libc for it go
// 400 days ahead. Programs that ask the kernel, as Go's do, and the times that the
// kernel gives to files are not ahead.
const ahead = `
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int failed = syscall(SYS_clock_gettime, clock, now);
	if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += 400 * 86400;
	return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;
	if (clock_gettime(CLOCK_REALTIME, &precise))
		return -1;
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *into)
{
	struct timespec now;
	if (clock_gettime(CLOCK_REALTIME, &now))
		return -1;
	if (into)
		*into = now.tv_sec;
	return now.tv_sec;
}
`

// clockCommands preload the library into every program, those in the trees
// included: while their packages are installed from a file that goes again, and in
// a chroot later from its /run, which is not packed.
const clockCommands = `
mkdir "$W/etc" "$W/etc.work" "$W/programs" "$W/sbin" "$W/sbin.work"
printf '%s' "$AHEAD" >"$W/ahead.c"
gcc -shared -fPIC -O -o "$W/ahead.so" "$W/ahead.c"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$W/etc,workdir=$W/etc.work" /etc
mount --bind /usr/sbin "$W/programs"
mount -t overlay overlay -o "lowerdir=/usr/sbin,upperdir=$W/sbin,workdir=$W/sbin.work" /usr/sbin
cat >"$W/begin" <<END
mkdir -p "\$1/etc" "\$1/ahead"
cp "$W/ahead.so" "\$1/ahead/"
echo /ahead/ahead.so >"\$1/etc/ld.so.preload"
END
cat >"$W/end" <<END
[ ! -x "\$1/usr/bin/date" ] || "$W/programs/chroot" "\$1" date +%s >"$W/installed"
rm -r "\$1/ahead" "\$1/etc/ld.so.preload"
rmdir --ignore-fail-on-non-empty "\$1/etc"
END
cat >/usr/sbin/mmdebstrap <<END
#!/bin/sh
case "\$*" in *--variant=extract*) exec /usr/bin/mmdebstrap "\$@" ;; esac # no program of it runs
exec /usr/bin/mmdebstrap --extract-hook='sh $W/begin "\$1"' --customize-hook='sh $W/end "\$1"' "\$@"
END
cat >/usr/sbin/chroot <<END
#!/bin/sh
# systemd-analyze has its generators run with another /run, and writes no bytes.
if [ -d "\$1" ] && [ "\$2" != /usr/bin/systemd-analyze ] && mountpoint -q "\$1/run"; then
	[ -e "\$1/run/ahead.so" ] || cp "$W/ahead.so" "\$1/run/"
	export LD_PRELOAD=/run/ahead.so
	# dracut copies what programs load, and asks ldd for it.
	if [ -x "\$1/usr/bin/dracut" ] && [ ! -e "\$1/run/ldd" ]; then
		cp "\$1/usr/bin/ldd" "\$1/run/ldd"
		printf '#!/bin/sh\\nunset LD_PRELOAD\\nexec /bin/bash /run/ldd "\$@"\\n' >"\$1/usr/bin/ldd"
	fi
	[ ! -x "\$1/usr/bin/date" ] || "$W/programs/chroot" "\$1" date +%s >"$W/sealed"
fi
exec "$W/programs/chroot" "\$@"
END
chmod 0755 /usr/sbin/mmdebstrap /usr/sbin/chroot
now=$(date +%s)
future=$((now + 399 * 86400))
export future
echo "$W/ahead.so" >/etc/ld.so.preload
`

// varied are the single things. Each is in force for a build of its own, and most
// of them for one build together.
func varied() map[string]variation {
	return map[string]variation{
		"folder": {folder: "a folder with blanks, 'quotes' and ü", proof: `[ -e "$DIR/ingot.yaml" ]`},
		"umask":  {before: "umask 077\n", proof: `[ "$(umask)" = 0077 ]`},
		// Its small i and large I are no pair.
		"language": {
			before: "mkdir \"$W/locale\"\nlocaledef --inputfile=tr_TR --charmap=UTF-8 \"$W/locale/tr_TR.UTF-8\"\nexport LOCPATH=\"$W/locale\" LANG=tr_TR.UTF-8 LC_ALL=tr_TR.UTF-8\n",
			proof:  `[ "$(TZ=UTC date --date=@0 +%A)" = Perşembe ]`,
		},
		"time zone": {env: []string{"TZ=Pacific/Kiritimati", "SOURCE_DATE_EPOCH=1"}, proof: `[ "$(date +%z)" = +1400 ]`},
		"host name": {asRoot: "hostname ingot-elsewhere\n", proof: `[ "$(hostname)" = ingot-elsewhere ]`},
		"processor": {around: []string{"taskset", "--cpu-list", "0"}, proof: `[ "$(nproc)" = 1 ]`},
		// personality(2), ADDR_NO_RANDOMIZE
		"addresses": {around: []string{"setarch", "--addr-no-randomize"}, proof: `grep -q '^00040000$' /proc/self/personality`},
		"clock": {
			env: []string{"AHEAD=" + ahead}, asRoot: clockCommands, proof: `[ "$(date +%s)" -gt "$future" ]`,
			after: `[ "$(cat "$W/sealed")" -gt "$future" ]`,
		},
	}
}

// TestVariations builds the example eleven times, each time under other
// conditions, and wants the same bytes. "make variations" runs it.
func TestVariations(t *testing.T) {
	skipUnlessVariations(t)
	v := varied()
	one := func(name string) variation {
		x := v[name]
		x.name = name
		return x
	}
	clock := one("clock")
	clock.name, clock.cold = "clock 400 days ahead", true
	clock.after += ` && [ "$(cat "$W/installed")" -gt "$future" ]`
	all := together("all of these at once", v["folder"], v["umask"], v["language"], v["time zone"], v["host name"], v["processor"], v["addresses"])
	all.cold = true
	user := variation{
		name: "an ordinary user", cold: true, user: true, asRoot: userCommands, around: asUser,
		proof: fmt.Sprintf(`[ "$(id -u)" = %d ] && ! mount -t tmpfs tmpfs /mnt 2>/dev/null`, userID),
	}
	b := newBuilds(t)
	for _, v := range []variation{
		one("folder"), one("umask"), one("language"), one("time zone"), one("host name"), one("processor"), one("addresses"),
		{
			name: "root that may not mount", around: []string{"setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"},
			proof: `[ "$(id -u)" = 0 ] && ! mount -t tmpfs tmpfs /mnt 2>/dev/null`, asRoot: "true\n",
		},
		clock, all, user,
		{
			name: "root of an unprivileged container", user: true, with: user.name, asRoot: userCommands,
			around: append(slices.Clone(asUser), "unshare", "--user", "--mount", "--map-root-user", "--map-auto"),
			proof:  fmt.Sprintf(`[ "$(id -u)" = 0 ] && grep -q ' %d ' /proc/self/uid_map`, userID),
		},
	} {
		t.Run(v.name, func(t *testing.T) { b.same(t, v) })
	}
}

// openProgram is ingot where every user may run it, in a folder for its work.
type openProgram struct{ work, program string }

func newOpenProgram(t *testing.T) openProgram {
	t.Helper()
	o := openProgram{work: t.TempDir()}
	if err := os.Chmod(filepath.Dir(o.work), 0o755); err != nil {
		t.Fatal(err)
	}
	ingot, err := exec.LookPath("ingot")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(o.work, "bin")
	for _, name := range []string{"ingot", "ingot-agent"} {
		content, err := os.ReadFile(filepath.Join(filepath.Dir(ingot), name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(bin, name), string(content))
		if err := os.Chmod(filepath.Join(bin, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	o.program = filepath.Join(bin, "ingot")
	return o
}

func (o openProgram) ingot(t *testing.T, cache string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := ingot(t, cache, args...)
	cmd.Path, cmd.Args[0] = o.program, o.program
	return cmd
}

// builds are of one server, under several conditions.
type builds struct {
	server
	openProgram
	layers map[string]string // digests of the first build's, by the stage
	caches map[string]string // by the name of the variation
}

func newBuilds(t *testing.T) *builds {
	t.Helper()
	b := &builds{server: newServer(t), openProgram: newOpenProgram(t), caches: map[string]string{}}
	places := filepath.Join(b.work, "first")
	built(t, finish(t, b.ingot(t, b.cache, "build", "--json", "--locked", "--cache-to", "oci:"+places, b.dir)))
	b.layers = layersOf(t, places)
	return b
}

// same builds once more under other conditions and wants the first build's bytes.
func (b *builds) same(t *testing.T, v variation) {
	if v.asRoot != "" && os.Geteuid() != 0 {
		t.Skip("only root can make these conditions")
	}
	work := filepath.Join(b.work, strings.ReplaceAll(v.name, " ", "-"))
	dir, cache, places := filepath.Join(work, "folder"+v.folder), filepath.Join(work, "cache"), filepath.Join(work, "layers")
	for _, d := range []string{dir, filepath.Join(work, "w")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	must(t, "cp", "-a", filepath.Join(b.dir, "ingot.yaml"), filepath.Join(b.dir, images.LockFile), filepath.Join(b.dir, "secrets"), dir)
	want := warmStages
	switch {
	case v.cold:
		coldCache(t, b.cache, cache, !v.user)
		want = allStages
	case v.with != "":
		if cache = b.caches[v.with]; cache == "" {
			t.Skipf("%q built nothing", v.with)
		}
		for _, stage := range warmStages {
			must(t, "sh", "-c", `rm -rf "$1"/stages/"$2"-*`, "sh", cache, stage)
		}
	default:
		cache = b.linked(t, warmStages...)
	}
	if v.user {
		must(t, "chown", "-R", strconv.Itoa(userID)+":"+strconv.Itoa(userID), work)
	}
	args := []string{"build", "--json", "--locked"}
	if v.cold || v.with != "" { // else the trees are those of the first build
		args = append(args, "--cache-to", "oci:"+places)
	}
	cmd := b.ingot(t, cache, append(args, dir)...)
	v.surround(cmd, filepath.Join(work, "w"), dir)
	r := built(t, finish(t, cmd))
	t.Logf("%.1f s; made %s", r.Seconds, strings.Join(redone(r), ", "))
	want = append(slices.Clone(want), writingImage)
	if got := redone(r); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("made %q, want %q", got, want)
	}
	if v.user && v.cold {
		b.caches[v.name] = cache
	} else {
		defer must(t, "rm", "-rf", work) // some GB
	}
	b.compare(t, r, places)
	wantNothingOf(t, work)
}

// surround has a build run under the conditions.
func (v variation) surround(cmd *exec.Cmd, w, dir string) {
	cmd.Env = append(append(cmd.Env, v.env...), "W="+w, "DIR="+dir)
	build := cmd.Args
	argv := append(slices.Clone(v.around), "sh", "-euc", v.before+`
{ `+v.proof+`; } || { echo "the variation is not in force" >&2; exit 99; }
code=0
"$@" || code=$?
[ $code -ne 0 ] || { `+cmp.Or(v.after, "true")+`; } || { echo "the variation was not in force" >&2; exit 99; }
exit $code`, "sh")
	if v.asRoot != "" {
		// What $W holds is for this build only, and may need an overlay, for which not
		// every file system is good.
		argv = append([]string{"unshare", "--mount", "--uts", "--propagation=private", "sh", "-euc", `
mount -t tmpfs -o mode=0755 tmpfs "$W"
` + v.asRoot + `exec "$@"`, "sh"}, argv...)
	}
	cmd.Args = append(argv, build...)
	cmd.Path, cmd.Err = "", nil
	if path, err := exec.LookPath(cmd.Args[0]); err != nil {
		cmd.Err = err
	} else {
		cmd.Path = path
	}
}

// compare wants the image, what lies beside it and the layers of the stages to be
// those of the first build.
func (b *builds) compare(t *testing.T, r images.Result, places string) {
	t.Helper()
	if r.SHA256 != b.result.SHA256 {
		o := finish(t, ingot(t, b.cache, "diff", "--files", b.result.Image, r.Image))
		lines := slices.Collect(strings.Lines(o.stdout + o.stderr))
		t.Errorf("sha256 %s, want %s; what differs first:\n%s", r.SHA256, b.result.SHA256, strings.Join(lines[:min(len(lines), 20)], ""))
	}
	for _, name := range []string{"sbom.cdx.json", "sbom.spdx.json", "instance.ign", "provenance.json"} {
		first, err := beside(b.result.Image, name)
		if err != nil {
			t.Fatal(err)
		}
		second, err := beside(r.Image, name)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(first, second) {
			t.Errorf("%s differs:\n%s\nwant\n%s", name, firstDifferentLine(second, first), firstDifferentLine(first, second))
		}
	}
	if _, err := os.Stat(places); err != nil {
		return
	}
	same := 0
	for tag, digest := range layersOf(t, places) {
		switch want := b.layers[tag]; want {
		case digest:
			same++
		case "": // the first build did not need this stage
		default:
			t.Errorf("the OCI layer of %s has the digest %s, want %s", tag, digest, want)
		}
	}
	if same < len(b.layers) {
		t.Errorf("%d OCI layers are the same, want %d", same, len(b.layers))
	}
}

// beside is a file beside an image; of the provenance, what was signed: the key
// is the user's.
func beside(image, name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(filepath.Dir(image), name))
	if err != nil || name != "provenance.json" {
		return b, err
	}
	var envelope struct{ Payload []byte }
	err = json.Unmarshal(b, &envelope)
	return envelope.Payload, err
}

func firstDifferentLine(a, b []byte) string {
	other := slices.Collect(bytes.Lines(b))
	i := 0
	for line := range bytes.Lines(a) {
		if i >= len(other) || !bytes.Equal(line, other[i]) {
			return string(line[:min(len(line), 500)])
		}
		i++
	}
	return "(the end)"
}

// layersOf are the digests of the layers in a folder of OCI's layout, by their
// tags, which name stage and key.
func layersOf(t *testing.T, folder string) map[string]string {
	t.Helper()
	type descriptor struct {
		Digest      string            `json:"digest"`
		Annotations map[string]string `json:"annotations"`
	}
	read := func(file string, into any) {
		b, err := os.ReadFile(filepath.Join(folder, file))
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var index struct{ Manifests []descriptor }
	read("index.json", &index)
	layers := map[string]string{}
	for _, m := range index.Manifests {
		var manifest struct{ Layers []descriptor }
		read("blobs/"+strings.Replace(m.Digest, ":", "/", 1), &manifest)
		if tag := m.Annotations["org.opencontainers.image.ref.name"]; tag == "" || len(manifest.Layers) != 1 {
			t.Fatalf("%s has the tag %q and %d layers", m.Digest, tag, len(manifest.Layers))
		} else {
			layers[tag] = manifest.Layers[0].Digest
		}
	}
	if len(layers) < 7 {
		t.Fatalf("%s has %d layers", folder, len(layers))
	}
	return layers
}

// coldCache makes a cache that has nothing but the packages of another; as links
// if their owner may stay.
func coldCache(t *testing.T, from, to string, links bool) {
	t.Helper()
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	if !links || exec.CommandContext(t.Context(), "cp", "-al", filepath.Join(from, "debs"), to).Run() != nil {
		must(t, "cp", "-a", filepath.Join(from, "debs"), to)
	}
}

func must(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}

// TestColdBuildsAtOnce: three builds begin at once with nothing but the packages,
// two of them of one folder. All have the same image, and no stage is made twice.
func TestColdBuildsAtOnce(t *testing.T) {
	skipUnlessVariations(t)
	s := newServer(t)
	cache := filepath.Join(t.TempDir(), "cache")
	coldCache(t, s.cache, cache, true)
	one, other := s.copy(t), s.copy(t)
	outcomes := make(chan outcome)
	for _, dir := range []string{one, other, one} {
		go func() { outcomes <- finish(t, ingot(t, cache, "build", "--json", "--locked", dir)) }()
	}
	var made []string
	for range 3 {
		r := built(t, <-outcomes)
		made = append(made, redone(r)...)
		if r.SHA256 != s.result.SHA256 {
			t.Errorf("sha256 %s, want %s", r.SHA256, s.result.SHA256)
		}
	}
	slices.Sort(made)
	want := append(slices.Clone(allStages), writingImage, writingImage) // of two folders
	if slices.Sort(want); !slices.Equal(made, want) {
		t.Errorf("the builds made %q, want %q", made, want)
	}
	wantNoStages(t, cache)
	wantNothingOf(t, cache)
}
