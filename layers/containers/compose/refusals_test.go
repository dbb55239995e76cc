package compose

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/config/document"
)

// write makes a folder with a compose file and others beside it.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// mistakes are all findings about a compose file, of whatever stage.
func mistakes(t testing.TB, files map[string]string, l LoadOptions, o Options) []document.Finding {
	t.Helper()
	p, findings := load(t, write(t, files), l)
	if len(findings) > 0 {
		return findings
	}
	_, findings = Translate(p, o)
	return findings
}

// service is a compose file with one service of these lines.
func oneService(lines ...string) string {
	return "services:\n  web:\n    image: nginx\n    " + strings.Join(lines, "\n    ") + "\n"
}

// Each refusal is at its place, and says what to do. The line below web's image
// is the fourth.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text         string
		line, column int
		message      string
		advice       string
	}{
		"build":                 {oneService("build: ."), 4, 5, "build cannot be translated", "name it with image"},
		"no image":              {"services:\n  web:\n    command: x\n", 2, 0, "", ""},
		"privileged":            {oneService("privileged: true"), 4, 17, "whole machine", "cap_add and devices"},
		"capability":            {oneService("cap_add: [CHOWN, net_admin]"), 4, 15, "capability CHOWN is not given", "{service: web, what: \"cap_add=CHOWN\", why: …}"},
		"second capability":     {oneService("cap_add:", "- SYS_ADMIN"), 5, 7, "SYS_ADMIN", "remove it"},
		"all capabilities":      {oneService("cap_add: [ALL]"), 4, 15, "whole machine", "name those"},
		"writable root":         {oneService("read_only: false"), 4, 16, "may write into its root", "tmpfs or volumes"},
		"new privileges":        {oneService("security_opt: [\"no-new-privileges:false\"]"), 4, 20, "set-user-ID", "remove it"},
		"seccomp":               {oneService("security_opt: [seccomp=unconfined]"), 4, 20, "every part of the kernel", "remove it"},
		"apparmor":              {oneService("security_opt: [apparmor:unconfined]"), 4, 20, "AppArmor profile", "remove it"},
		"unknown security":      {oneService("security_opt: [credentials]"), 4, 20, "not known", "seccomp"},
		"host network":          {oneService("network_mode: host"), 4, 19, "machine's network", "publish the ports"},
		"bridge network":        {oneService("network_mode: bridge"), 4, 19, "cannot be translated", "by their names"},
		"a VPN's network":       {oneService("cap_add: [NET_ADMIN]") + "  down: {image: busybox, network_mode: \"service:web\"}\n", 4, 14, "no VPN namespace", "add vpn: {} to layers"},
		"other's network":       {oneService("network_mode: service:db", "depends_on: []") + "  db: {image: postgres}\n", 4, 19, "no tunnel to live in", "remove it"},
		"container's network":   {oneService("network_mode: \"container:x\""), 4, 19, "cannot be translated", "remove it"},
		"host pid":              {oneService("pid: host"), 4, 10, "pid namespace", "what: \"pid=host\""},
		"host ipc":              {oneService("ipc: host"), 4, 10, "ipc namespace", "what: \"ipc=host\""},
		"other's pid":           {oneService("pid: \"service:db\"") + "  db: {image: postgres}\n", 4, 10, "cannot be translated", "of its own"},
		"host cgroup":           {oneService("cgroup: host"), 4, 13, "cannot be translated", "of its own"},
		"uts":                   {oneService("uts: host"), 4, 5, "uts cannot be translated", "host name"},
		"host users":            {oneService("userns_mode: host"), 4, 18, "root on the machine", "give it a number"},
		"host users, root":      {oneService("userns_mode: host", "user: \"0\""), 4, 18, "root on the machine", "give it a number"},
		"other users":           {oneService("userns_mode: keep-id"), 4, 18, "not there", "remove it"},
		"user":                  {oneService("user: \"a b\""), 4, 11, "not an account", "1000:1000"},
		"docker socket":         {oneService("volumes: [\"/var/run/docker.sock:/var/run/docker.sock:ro\"]"), 4, 15, "lends the machine out", "remove it"},
		"podman socket":         {oneService("volumes:", "- {type: bind, source: /run/podman/podman.sock, target: /x}"), 5, 7, "lends the machine out", "remove it"},
		"root":                  {oneService("volumes: [\"/:/host:ro\"]"), 4, 15, "machine's own", "use a volume"},
		"identity":              {oneService("volumes: [\"/var/lib/ingot:/x\"]"), 4, 15, "machine's own", "use a volume"},
		"identity by dots":      {oneService("volumes: [\"/var/lib/ingot/containers/../identity:/x\"]"), 4, 15, "machine's own", "use a volume"},
		"secrets of others":     {oneService("volumes: [\"/etc/ingot/secrets:/x:ro\"]"), 4, 15, "machine's own", "use a volume"},
		"writable etc":          {oneService("volumes: [\"/etc/app:/x\"]"), 4, 15, "root is sealed", ":ro"},
		"writable var":          {oneService("volumes: [\"/var/spool/app:/x\"]"), 4, 15, "outside of the containers' folders", "what: \"volumes=/var/spool/app\""},
		"outside":               {oneService("volumes: [\"../x:/x:ro\"]"), 4, 15, "not in the compose file's folder", "copy it"},
		"home":                  {oneService("volumes: [\"~/x:/x:ro\"]"), 4, 15, "", ""},
		"missing file":          {oneService("volumes: [\"./nothing:/x:ro\"]"), 4, 15, "no such file", "put the file there"},
		"no name":               {oneService("volumes: [/data]"), 4, 15, "lost with the container", "data:/data"},
		"target":                {oneService("volumes: [\"data:data\"]") + "volumes: {data: {}}\n", 4, 15, "not a place", "absolute path"},
		"two at one place":      {oneService("volumes: [\"data:/x\", \"more:/x/\"]") + "volumes: {data: {}, more: {}}\n", 4, 14, "at one place", "different places"},
		"volume driver":         {oneService("volumes: [\"data:/x\"]") + "volumes:\n  data: {driver: nfs}\n", 6, 18, "driver \"nfs\" is not there", "state partition"},
		"volume options":        {oneService("volumes: [\"data:/x\"]") + "volumes:\n  data: {driver_opts: {type: nfs}}\n", 6, 10, "driver_opts cannot", "state partition"},
		"external volume":       {oneService("volumes: [\"data:/x\"]") + "volumes:\n  data: {external: true}\n", 6, 10, "external cannot", "in this file"},
		"image mount":           {oneService("volumes: [{type: image, source: localhost/files, target: /x}]"), 4, 15, "mounts no images", "beside the compose file"},
		"cluster mount":         {oneService("volumes: [{type: cluster, source: a, target: /x}]"), 4, 15, "no mounts of type", "bind or tmpfs"},
		"device":                {oneService("devices: [/dev/fuse]"), 4, 15, "is the machine's", "what: \"devices=/dev/fuse\""},
		"no device":             {oneService("devices: [\"vendor.com/class=gpu\"]"), 4, 15, "not a device", "/dev/dri"},
		"gpus":                  {oneService("gpus: all"), 4, 5, "gpus cannot", "drivers"},
		"public port":           {oneService("ports: [\"8080:80\"]"), 4, 13, "published to everybody", "127.0.0.1:8080:80 for the machine itself"},
		"public port, zeros":    {oneService("ports: [\"0.0.0.0:8080:80/udp\"]"), 4, 13, "published to everybody", "{port: 8080, proto: udp, why: …}"},
		"public port, six":      {oneService("ports: [\"[::]:8080:80\"]"), 4, 13, "published to everybody", "127.0.0.1"},
		"public port, long":     {oneService("ports:", "- target: 80", "  published: \"8080\""), 5, 7, "published to everybody", "127.0.0.1"},
		"other address":         {oneService("ports: [\"192.0.2.1:8080:80\"]"), 4, 13, "not an address of the server", "10.8.0.1:8080:80 for peers"},
		"random port":           {oneService("ports: [\"80\"]"), 4, 13, "no port that is known", "127.0.0.1:8080:80"},
		"sctp":                  {oneService("ports: [\"127.0.0.1:1:1/sctp\"]"), 4, 13, "not a protocol", "tcp or udp"},
		"port twice":            {oneService("ports: [\"127.0.0.1:81:80\"]") + "  zeb: {image: nginx, ports: [\"10.8.0.1:81:82\"]}\n", 5, 31, "published twice", "another port"},
		"unlimited memory":      {oneService("mem_limit: 0"), 4, 16, "all of the machine's memory", "512m"},
		"unlimited processes":   {oneService("pids_limit: -1"), 4, 17, "without end", "512"},
		"swap":                  {oneService("mem_limit: 1g", "memswap_limit: 512m"), 5, 20, "smaller than the memory", "larger"},
		"runtime":               {oneService("runtime: runsc"), 4, 5, "runtime cannot", "crun"},
		"hook":                  {oneService("post_start: [{command: x}]"), 4, 5, "post_start cannot", "entrypoint"},
		"two of one":            {oneService("scale: 2"), 4, 12, "2 containers", "a service for each"},
		"replicas":              {oneService("deploy: {replicas: 3}"), 4, 24, "3 containers", "a service for each"},
		"platform":              {oneService("platform: linux/arm64"), 4, 15, "not the machine's", "linux/amd64"},
		"log driver":            {oneService("logging: {driver: syslog}"), 4, 23, "\"syslog\" is not there", "journal"},
		"restart":               {oneService("restart: sometimes"), 4, 14, "", ""},
		"healthy without check": {oneService("depends_on: {db: {condition: service_healthy}}") + "  db: {image: postgres}\n", 4, 22, "has no healthcheck", "give it a healthcheck"},
		"empty command":         {oneService("command: []"), 4, 14, "empty command", "name the command"},
		"host variable":         {oneService("environment: [HOME]"), 4, 19, "HOME has no value", "whoever builds is not read"},
		"env file outside":      {oneService("env_file: ../x.env"), 4, 15, "not in the compose file's folder", "copy the file"},
		"env file missing":      {oneService("env_file: [x.env]"), 4, 16, "cannot be read", "required: false"},
		"sysctl":                {oneService("sysctls: {kernel.panic: 1}"), 4, 29, "whole machine's", "layer sysctl"},
		"host gateway":          {oneService("extra_hosts: [\"host.docker.internal:host-gateway\"]"), 4, 19, "no name in a container", "as a service"},
		"link":                  {oneService("links: [\"db:database\"]") + "  db: {image: postgres}\n", 4, 13, "another name", "aliases: [database]"},
		"network driver":        {oneService("networks: [a]") + "networks:\n  a: {driver: macvlan}\n", 6, 15, "\"macvlan\" is not there", "bridge"},
		"external network":      {oneService("networks: [a]") + "networks:\n  a: {external: true}\n", 6, 7, "external cannot", "in this file"},
		"subnet":                {oneService("networks: [a]") + "networks:\n  a: {ipam: {config: [{subnet: 10.1.2.3/33}]}}\n", 6, 32, "not a subnet", "10.89.7.0/24"},
		"secret name":           {oneService("secrets: [A.B]") + "secrets: {A.B: {file: x}}\n", 4, 15, "cannot be the name", "lower-case"},
		"include":               {"include: [other.yaml]\n" + oneService("init: true"), 1, 1, "include cannot", "into this file"},
		"oom":                   {oneService("oom_score_adj: -500"), 4, 20, "machine's own services", "0 to 1000"},
		"container's name":      {oneService("container_name: -x"), 4, 21, "", ""},
		"image's name":          {"services:\n  web:\n    image: Nginx\n", 3, 12, "not the name of an image", "docker.io/library/nginx"},
		"unknown key":           {oneService("enviroment: {A: b}"), 4, 5, "no key \"enviroment\"", "did you mean environment?"},
		"unknown key below":     {oneService("healthcheck: {intervall: 1s}"), 4, 19, "no key \"intervall\"", "did you mean interval?"},
		"unknown section":       {oneService("init: true") + "volume: {}\n", 5, 1, "no key \"volume\"", "did you mean volumes?"},
		"wrong type":            {oneService("read_only: [1]"), 4, 0, "", ""},
		"variable":              {oneService("hostname: ${NAME}"), 4, 15, "nothing says what the variable NAME is", "${NAME:-value}"},
		"required variable":     {oneService("hostname: ${NAME:?it must}"), 4, 15, "it must", "$$ for a dollar"},
		"broken variable":       {oneService("hostname: ${NA ME}"), 4, 15, "cannot be replaced", "$$"},
		"extends outside":       {oneService("extends: {file: ../base.yaml, service: x}"), 4, 0, "", ""},
		"tag":                   {oneService("ports: !reset []"), 4, 12, "tags (!name)", ""},
		"key twice":             {oneService("init: true", "init: false"), 5, 5, "appears twice", "keep one"},
		"unknown dependency":    {oneService("depends_on: [nobody]"), 4, 0, "", ""},
		"unknown volume":        {oneService("volumes: [\"nobody:/x\"]"), 4, 0, "", ""},
		"unknown network":       {oneService("networks: [nobody]"), 4, 0, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			findings := mistakes(t, map[string]string{"compose.yaml": c.text}, LoadOptions{}, Options{Tunnel: stackOptions.Tunnel})
			if len(findings) == 0 {
				t.Fatal("nothing is wrong")
			}
			f := findings[0]
			if f.File != "shown/compose.yaml" || f.Line != c.line || c.column != 0 && f.Column != c.column ||
				!strings.Contains(f.Message, c.message) || !strings.Contains(f.Advice, c.advice) {
				t.Errorf("%s\nwant line %d, column %d, %q, %q", f, c.line, c.column, c.message, c.advice)
			}
			if f.Source == "" || f.Message == "" || f.Advice == "" {
				t.Errorf("half a finding: %#v", f)
			}
		})
	}
}

// All mistakes are told at once, in the order of the file.
func TestAllAtOnce(t *testing.T) {
	t.Parallel()
	findings := mistakes(t, map[string]string{"compose.yaml": `services:
  web:
    image: nginx
    privileged: true
    ports: ["80:80", "443:443"]
    pid: host
  db:
    build: .
    network_mode: host
`}, LoadOptions{}, Options{})
	var lines []string
	for _, f := range findings {
		lines = append(lines, fmt.Sprint(f.Line))
	}
	if got := strings.Join(lines, " "); got != "4 5 5 6 8 9" {
		t.Errorf("findings in the lines %s:\n%v", got, findings)
	}

	// So are those of a file that compose-go does not read at all.
	findings = mistakes(t, map[string]string{"compose.yaml": `services:
  web:
    image: nginx
    read_only: [1]
    hostname: ${X}
  db:
    image: [a]
    stop: now
`}, LoadOptions{}, Options{})
	if len(findings) < 4 {
		t.Errorf("%d findings: %v", len(findings), findings)
	}
}

// What ingot.yaml allows is not refused, and what nobody asks for is noticed.
func TestAllow(t *testing.T) {
	t.Parallel()
	text := oneService("cap_add: [CHOWN]", "read_only: false", "pid: host", "ipc: host", "network_mode: host", "userns_mode: host",
		"security_opt: [seccomp=unconfined, \"no-new-privileges:false\", apparmor=unconfined, systempaths=unconfined]",
		"devices: [/dev/fuse]", "pids_limit: -1", "mem_limit: 0", "volumes: [\"/var/spool/app:/x\"]")
	whats := []string{
		"cap_add=CHOWN", "read_only=false", "pid=host", "ipc=host", "network_mode=host", "userns_mode=host", "security_opt=seccomp=unconfined",
		"security_opt=no-new-privileges:false", "security_opt=apparmor=unconfined", "security_opt=systempaths=unconfined",
		"devices=/dev/fuse", "pids_limit", "mem_limit", "volumes=/var/spool/app",
	}
	var o Options
	for _, what := range append(whats, "cap_add=KILL") {
		o.Allow = append(o.Allow, Allow{"web", what})
	}
	out := translation(t, write(t, map[string]string{"compose.yaml": text}), LoadOptions{}, o)
	if len(out.Overrides) != len(whats) || !slices.Equal(out.Unused, []int{len(whats)}) {
		t.Errorf("overrides %v, unused %v", out.Overrides, out.Unused)
	}
	unit := out.Quadlets[0].Contents
	for _, want := range []string{
		"AddCapability=CHOWN\n", "PodmanArgs=--pid=host\n", "PodmanArgs=--ipc=host\n", "Network=host\n", "SeccompProfile=unconfined\n",
		"PodmanArgs=--security-opt=apparmor=unconfined\n", "Unmask=ALL\n", "AddDevice=/dev/fuse:/dev/fuse:rwm\n", "PidsLimit=-1\n", "Volume=/var/spool/app:/x\n",
	} {
		if !strings.Contains(unit, want) {
			t.Errorf("%q is not in\n%s", want, unit)
		}
	}
	for _, no := range []string{"ReadOnly=", "NoNewPrivileges=", "UserNS=", "MemoryMax="} {
		if strings.Contains(unit, no) {
			t.Errorf("%q is in\n%s", no, unit)
		}
	}
	// Each one alone is missed.
	for i, what := range whats {
		p, _ := load(t, write(t, map[string]string{"compose.yaml": text}), LoadOptions{})
		less := Options{Allow: slices.Delete(slices.Clone(o.Allow), i, i+1)}
		if _, findings := Translate(p, less); len(findings) != 1 || !strings.Contains(findings[0].Advice, fmt.Sprintf("what: %q", what)) {
			t.Errorf("without %s: %v", what, findings)
		}
	}
	// For one service it is not allowed to another.
	p, _ := load(t, write(t, map[string]string{"compose.yaml": strings.Replace(text, "  web:", "  other:", 1)}), LoadOptions{})
	if _, findings := Translate(p, o); len(findings) != len(whats) {
		t.Errorf("another service: %v", findings)
	}
}

// Nothing of whoever builds gets into the units.
func TestNothingOfTheHost(t *testing.T) {
	t.Setenv("WHO", "the builder")
	t.Setenv("REGION", "the builder's")
	dir := write(t, map[string]string{"compose.yaml": oneService("hostname: ${WHO:-nobody}"), ".env": "WHO=hidden\n"})
	out := translation(t, dir, LoadOptions{}, Options{})
	if unit := out.Quadlets[1].Contents; !strings.Contains(unit, "HostName=nobody\n") || strings.Contains(unit, dir) {
		t.Errorf("the unit depends on the host:\n%s", unit)
	}
}

// A link does not lead out of the folder, and neither does a file that is
// extended.
func TestLinksStayInside(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("services: {x: {image: secret}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"bind": "volumes: [\"./link:/x:ro\"]", "folder": "volumes: [\"./sub:/x:ro\"]", "env file": "env_file: link",
		"extends": "extends: {file: link, service: x}", "config": "configs: [c]",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{"compose.yaml": oneService(line) + "configs: {c: {file: ./link}}\n", "sub/x": ""})
			for _, link := range []string{"link", "sub/link"} {
				if err := os.Symlink(secret, filepath.Join(dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			p, findings := load(t, dir, LoadOptions{})
			if len(findings) == 0 {
				_, findings = Translate(p, Options{})
			}
			if len(findings) == 0 || findings[0].Line != 4 {
				t.Errorf("findings %v", findings)
			}
		})
	}
}

// Files that grow are refused in time, and so is what the parser chokes on.
func TestHostileFiles(t *testing.T) {
	t.Parallel()
	laughs := "x-a: &a0 [lol]\n"
	for i := 1; i < 12; i++ {
		laughs += fmt.Sprintf("x-%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	merges := "x-0: &a0 {k: 1}\n"
	for i := 1; i < 2000; i++ {
		merges += fmt.Sprintf("x-%d: &a%d {<<: *a%d, k%d: 1}\n", i, i, i-1, i)
	}
	for name, text := range map[string]string{
		"laughs": laughs, "merges": merges, "itself": "services: &a {x: *a}\n", "unknown alias": "services: *a\n", "empty": "", "list": "- a\n",
		"scalar merge": "services: {<<: 1}\n", "deep": strings.Repeat("[", 50_000), "large": strings.Repeat("# x\n", 1<<15), "null": "services:\n",
		"binary": "\x00", "no service": "services: {web: }\n", "number": "services: {1: {image: a}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if findings := mistakes(t, map[string]string{"compose.yaml": text}, LoadOptions{}, Options{}); len(findings) == 0 && name != "number" {
				t.Error("nothing is wrong")
			}
		})
	}
}

// Aliases and merge keys are followed, and a mistake in them is shown where it
// is written.
func TestAnchors(t *testing.T) {
	t.Parallel()
	text := "x-all: &all\n  init: true\n  privileged: true\nservices:\n  web:\n    <<: *all\n    image: nginx\n    privileged: false\n  app: {<<: *all, image: nginx}\n"
	findings := mistakes(t, map[string]string{"compose.yaml": text}, LoadOptions{}, Options{})
	if len(findings) != 1 || findings[0].Line != 3 || findings[0].Column != 15 {
		t.Errorf("findings %v", findings)
	}
}

// A mistake in a file that is extended is shown there.
func TestExtendedFile(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"compose.yaml": oneService("extends: {file: base.yaml, service: base}"),
		"base.yaml":    "services:\n  base:\n    extends: root\n    pid: host\n  root:\n    cap_add: [CHOWN]\n",
	}
	findings := mistakes(t, files, LoadOptions{}, Options{})
	if len(findings) != 2 || findings[0].File != "shown/base.yaml" || findings[0].Line != 4 || findings[1].Line != 6 || findings[1].Column != 15 {
		t.Errorf("findings %v", findings)
	}
	files["base.yaml"] = "services:\n  base:\n    privilegd: true\n"
	findings = mistakes(t, files, LoadOptions{}, Options{})
	if len(findings) != 1 || findings[0].File != "shown/base.yaml" || findings[0].Line != 3 || findings[0].Advice != "did you mean privileged?" {
		t.Errorf("findings %v", findings)
	}
}

// FuzzLoad feeds the translator anything: it must neither crash nor hang, and
// what it finds must have a place.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{"testdata/notes/compose.yaml", "testdata/stack/compose.yaml", "testdata/stack/base.yaml"} {
		data, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("services: {a: {extends: a, image: a}}"))
	f.Add([]byte("services: {a: {extends: {file: compose.yaml, service: a}, image: \"${A\"}}"))
	f.Add([]byte("a: &a {<<: [*a, {b: c}]}"))
	f.Add([]byte(oneService("ports: [{target: 80, published: 1-3}]", "ulimits: {a: {soft: x}}", "<<: {image: b}")))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		p, findings := load(t, dir, LoadOptions{})
		if len(findings) == 0 {
			_, findings = Translate(p, Options{})
		}
		for _, x := range findings {
			if x.Line < 1 || x.Column < 1 || x.Message == "" || x.Advice == "" || x.File == "" {
				t.Errorf("impossible finding: %#v", x)
			}
		}
	})
}

// What a service of the VPN namespace cannot have, whichever way it comes there.
func TestRefusalsInVPN(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text         string
		line, column int
		message      string
	}{
		"its own DNS":      {oneService("dns: [1.1.1.1]"), 4, 10, "dns means nothing"},
		"sysctl":           {oneService("sysctls: {net.ipv4.ip_forward: 1}"), 4, 36, "the whole VPN namespace's"},
		"network":          {oneService("networks: [a]") + "networks: {a: {}}\n", 4, 15, "is in a network of the compose file"},
		"network mode":     {oneService("network_mode: none"), 4, 19, "has a network mode"},
		"published to all": {oneService("ports: [\"80:80\"]"), 4, 13, "published to everybody"},
		"published UDP":    {oneService("ports: [\"10.8.0.1:80:80/udp\"]"), 4, 13, "only pages"},
		"the client":       {oneService("cap_add: [NET_ADMIN]") + "  down: {image: busybox, network_mode: \"service:web\"}\n", 3, 5, "whose place the VPN namespace takes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{Tunnel: stackOptions.Tunnel, VPN: &VPNOptions{Services: []string{"web", "nobody"}}}
			findings := mistakes(t, map[string]string{"compose.yaml": c.text}, LoadOptions{}, o)
			for _, f := range findings {
				if strings.Contains(f.Message, c.message) || strings.Contains(f.Advice, c.message) {
					if f.Line != c.line || f.Column != c.column || f.Advice == "" {
						t.Errorf("%d:%d: %s: %s", f.Line, f.Column, f.Message, f.Advice)
					}
					return
				}
			}
			t.Errorf("nothing says %q: %+v", c.message, findings)
		})
	}
}

// Services of ingot.yaml live in the VPN namespace as those of the compose file do,
// and their ports are pages of it.
func TestIntoVPN(t *testing.T) {
	t.Parallel()
	out := translation(t, write(t, map[string]string{"compose.yaml": oneService("ports: [\"10.8.0.1:8080:80\"]")}), LoadOptions{},
		Options{Tunnel: stackOptions.Tunnel, VPN: &VPNOptions{Services: []string{"web"}}})
	unit := out.Quadlets[0].Contents
	if len(out.Quadlets) != 1 || len(out.Networks) != 0 || !strings.Contains(unit, "Network=ns:/run/netns/vpn\n") || strings.Contains(unit, "PublishPort") {
		t.Errorf("units %+v", out.Quadlets)
	}
	if len(out.Published) != 1 || !out.Published[0].InVPN || out.Published[0].Target != 80 || out.VPN.Client != "" {
		t.Errorf("published %+v, %+v", out.Published, out.VPN)
	}
}
