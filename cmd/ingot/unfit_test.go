package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// hidesProc covers a part of /proc, as containers do: no other may be mounted then
// in a user namespace.
const hidesProc = "mount -t tmpfs tmpfs /proc/sys/kernel\n"

// forbidsNamespaces is for a user namespace of the test's own: the sysctl is that
// of the namespace.
const forbidsNamespaces = `
[ "$(readlink /proc/self/ns/user)" != "$HOST" ]
echo 0 >/proc/sys/user/max_user_namespaces
`

// unfit: where no namespace can be made, or one that a build has no use for, a
// build says so before it downloads anything.
func (s server) unfit(t *testing.T) {
	mayNotMount := []string{"setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"}
	single := append(slices.Clone(asUser), "unshare", "--user", "--map-root-user")
	if os.Geteuid() != 0 {
		single = single[len(asUser):]
	}
	for _, tc := range []struct {
		variation
		ownUsers bool // in a user namespace that has all ids
		want     []string
	}{
		{
			variation: variation{name: "a single id", around: single, proof: `[ "$(id -u)" = 0 ]`},
			want:      []string{"a build cannot give files to other accounts here; this is a user namespace with a single id, ", `"unshare --map-root-user --map-auto"`},
		},
		{
			variation: variation{name: "a single id of an ordinary user", asRoot: userCommands, around: append(slices.Clone(asUser), "unshare", "--user", "--map-current-user"), proof: `[ "$(id -u)" = ` + strconv.Itoa(userID) + ` ]`},
			want:      []string{"no namespace could be made; this is a user namespace with a single id, "},
		},
		{
			variation: variation{name: "no subordinate ids", asRoot: userCommands + ": >/etc/subuid\n", around: asUser, proof: "true"},
			want:      []string{"this machine lacks subordinate ids for ingot-test in /etc/subuid\n"},
		},
		{
			variation: variation{name: "few subordinate ids", asRoot: userCommands + "echo ingot-test:2900000000:1000 >/etc/subgid\n", around: asUser, proof: "true"},
			want:      []string{"this machine lacks enough subordinate ids for ingot-test in /etc/subgid, which has 1000 and not 65535"},
		},
		{
			variation: variation{name: "no user namespaces", asRoot: userCommands + forbidsNamespaces, around: asUser, proof: "! unshare --user true 2>/dev/null"},
			ownUsers:  true,
			want:      []string{"no namespace could be made; this machine allows no more of them: raise the sysctl user.max_user_namespaces, which is 0, "},
		},
		{
			variation: variation{name: "no new rights", asRoot: userCommands, around: append(slices.Clone(asUser), "--no-new-privs"), proof: "true"},
			want:      []string{"no namespace could be made; newuidmap, which gives a namespace its ids, may have no rights here (no_new_privs)"},
		},
		{
			variation: variation{name: "Ubuntu", asRoot: userCommands + hidesProc + "echo 1 >/proc/sys/kernel/apparmor_restrict_unprivileged_userns\n", around: asUser, proof: "true"},
			want:      []string{"Ubuntu's AppArmor restriction", "/proc/sys/kernel/apparmor_restrict_unprivileged_userns is 1", "set the sysctl kernel.apparmor_restrict_unprivileged_userns to 0"},
		},
		{
			variation: variation{name: "a hidden /proc", asRoot: userCommands + hidesProc, around: asUser, proof: "true"},
			want:      []string{"a build cannot mount /proc here; as in a container", "--security-opt systempaths=unconfined"},
		},
		{
			variation: variation{name: "root of a container that forbids all", asRoot: forbidsNamespaces, around: mayNotMount, proof: "! unshare --mount true 2>/dev/null"},
			ownUsers:  true,
			want:      []string{"no namespace could be made; "},
		},
		{
			variation: variation{
				name: "a container's disk", asRoot: "mkdir \"$W/lower\" \"$W/upper\" \"$W/work\"\nmount -t overlay overlay -o \"lowerdir=$W/lower,upperdir=$W/upper,workdir=$W/work\" \"$INGOT_CACHE\"\n",
				proof: `[ "$(stat --file-system --format=%T "$INGOT_CACHE")" = overlayfs ]`,
			},
			want: []string{"a build cannot put an overlay over folders of the cache here; ", "set INGOT_CACHE to a folder on a volume or another disk"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.asRoot != "" && os.Geteuid() != 0 {
				t.Skip("only root can make these conditions")
			}
			b := newOpenProgram(t)
			dir, cache, w := filepath.Join(b.work, "server"), filepath.Join(b.work, "cache"), filepath.Join(b.work, "w")
			must(t, "mkdir", dir, cache, w)
			must(t, "cp", "-a", filepath.Join(s.dir, "ingot.yaml"), filepath.Join(s.dir, "ingot.lock"), filepath.Join(s.dir, "secrets"), dir)
			if os.Geteuid() == 0 && len(tc.around) > 0 && tc.around[0] == asUser[0] && tc.around[1] == asUser[1] {
				must(t, "chown", "-R", strconv.Itoa(userID)+":"+strconv.Itoa(userID), dir, cache)
			}
			host, err := os.Readlink("/proc/self/ns/user")
			if err != nil {
				t.Fatal(err)
			}
			cmd := b.ingot(t, cache, "build", "--locked", dir)
			cmd.Env = append(cmd.Env, "HOST="+host)
			tc.surround(cmd, w, dir)
			if tc.ownUsers {
				all := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1<<32 - 1}}
				cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: all, GidMappings: all, GidMappingsEnableSetgroups: true}
			}
			o := finish(t, cmd)
			if o.code != exitMachine || o.stdout != "" {
				t.Errorf("exit code %d, want %d; %s", o.code, exitMachine, o.stdout)
			}
			for _, want := range tc.want {
				if !strings.Contains(o.stderr, want) {
					t.Errorf("%q is not in\n%s", want, o.stderr)
				}
			}
			t.Log(o.stderr)
			wantOutputs(t, filepath.Join(cache, "debs"))
			wantOutputs(t, filepath.Join(cache, "tmp"))
			wantNothingOf(t, b.work)
		})
	}
}
