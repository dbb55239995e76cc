package ionos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/providers"
)

// tool is a program of e2fsprogs or util-linux, which are not in everybody's path.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, file := range []string{name, "/sbin/" + name, "/usr/sbin/" + name} {
		if program, err := exec.LookPath(file); err == nil {
			return program
		}
	}
	t.Skip("there is no " + name + " to look at the file system with; apt-get install e2fsprogs util-linux")
	return ""
}

// kindsOf are those of what is found, in its order.
func kindsOf(found []providers.Resource) (kinds []string) {
	for _, f := range found {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

// A server with a volume for its state, with a real file system, and a second one.
func TestDeployWithState(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opts.State = 10
	server, e := r.deployed(t)
	if want := []boot{{"claw-1-ingot-" + e.ID, true, len(testRules), true, "disk", stateVolume(t, r, 0)}}; !slices.Equal(r.cloud.boots, want) {
		t.Errorf("it was switched on as %v, not %v", r.cloud.boots, want)
	}
	d := r.cloud.state.Centers[0]
	p := props(byID(d.Volumes, stateVolume(t, r, 0)))
	if p["size"] != 10.0 || p["bootOrder"] != "NONE" || p["name"] != "claw-1-state-ingot-"+e.ID {
		t.Errorf("the volume is %v", p)
	}
	if n, err := r.StateSize(t.Context(), server); n != 10 || err != nil {
		t.Errorf("the state has %d GiB, %v", n, err)
	}
	if !slices.Contains(e.Created, providers.Resource{Kind: kindVolume, Name: "claw-1-state-ingot-" + e.ID}) {
		t.Errorf("in the journal are %v", e.Created)
	}
	// What it is made of is a file system, by other programs.
	files := r.ftp.files(t, diskFolder)
	image := byID(r.cloud.state.Images, p["image"].(string))
	file := filepath.Join(t.TempDir(), "state.raw")
	if err := os.WriteFile(file, files[nameOf(image)], 0o600); err != nil {
		t.Fatal(err)
	}
	checkFileSystem(t, file)

	// A second server has one made of the same image, which is nobody's.
	e2 := r.begin(t)
	found, err := r.Images(t.Context())
	if err != nil || len(found) != 1 {
		t.Fatalf("the images are %v, %v", found, err)
	}
	m := testMachine(e2, found[0])
	m.Name = "claw-2"
	second, err := r.Deploy(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.ftp.files(t, diskFolder)); n != 2 || n != len(files) {
		t.Errorf("there are %d disks on the server for images, not 2", n)
	}
	if got := props(byID(d.Volumes, stateVolume(t, r, 1)))["image"]; got != p["image"] {
		t.Errorf("it was made of %v, not %v", got, p["image"])
	}
	if second.Labels[providers.LabelID] != e2.ID {
		t.Errorf("the second server is %+v", second)
	}

	// Both go, each with its state. The image stays.
	for n, entry := range []*providers.Entry{e, e2} {
		all, err := r.Find(t.Context(), entry.ID)
		want := []string{kindServer, kindVolume, kindVolume, kindLAN, kindImage, kindImage}
		if n == 1 {
			want = []string{kindServer, kindVolume, kindVolume, kindLAN, kindImage}
		}
		if got := kindsOf(all); err != nil || !slices.Equal(got, want) {
			t.Errorf("found are %v, not %v; %v", got, want, err)
		}
		if _, err := entry.Collect(t.Context(), r.Provider); err != nil {
			t.Fatal(err)
		}
	}
	r.empty(t, e2.ID)
	if len(d.Volumes) != 0 || fmt.Sprint(props(image)["size"]) != "1" {
		t.Errorf("left are %v; the image for the state is %v", d.Volumes, props(image))
	}
}

// stateVolume is the volume for the state of a server of the rig.
func stateVolume(t *testing.T, r *rig, n int) string {
	t.Helper()
	d := r.cloud.state.Centers[0]
	for _, id := range d.Servers[n].Volumes {
		if r.cloud.keepsState(byID(d.Volumes, id)) {
			return id
		}
	}
	t.Fatal("the server has no volume for its state")
	return ""
}

// checkFileSystem wants a sound ext4 with the label, that can be grown.
func checkFileSystem(t *testing.T, file string) {
	t.Helper()
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(tool(t, name), args...).CombinedOutput()
		if err != nil {
			t.Errorf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	if said := run("blkid", "--probe", "--output", "export", file); !strings.Contains(said, "LABEL=ingot-var\n") || !strings.Contains(said, "TYPE=ext4\n") {
		t.Errorf("blkid says\n%s", said)
	}
	const grown = 1 << 40
	if err := os.Truncate(file, grown); err != nil { // it is a file of holes
		t.Fatal(err)
	}
	run("e2fsck", "-f", "-n", file)
	run("resize2fs", file)
	run("e2fsck", "-f", "-n", file)
	said := run("dumpe2fs", "-h", file)
	for _, want := range []string{
		fmt.Sprintf("Block count:              %d\n", grown/4096), fmt.Sprintf("Inode count:              %d\n", grown/16384),
		"Filesystem state:         clean\n", "Total journal size:       16M\n",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("dumpe2fs does not say %q:\n%s", want, said)
		}
	}
}

// The file that is uploaded does not stay here.
func TestStateFileGoes(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	r := newRig(t)
	p := r.keeping()
	e := r.begin(t)
	if _, err := p.stateImage(t.Context(), providers.Machine{Name: "claw-1", Journal: e}, e.ID); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// An image that is not whole, or not any more, is not made volumes of.
func TestStateImagesThatAreNotWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.keeping()
	image := func() (stateDisk, *providers.Entry) {
		t.Helper()
		e := r.begin(t)
		s, err := p.stateImage(t.Context(), providers.Machine{Name: "claw-1", Journal: e}, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		return s, e
	}
	first, e := image()
	if again, other := image(); again != first || len(other.Created) != 0 {
		t.Errorf("the second time it is %v, not %v, and %v was made", again, first, other.Created)
	}
	one := byID(r.cloud.state.Images, first.image)
	for name, change := range map[string]func(){
		// As IONOS lists a file whose upload was ended, and one that was whole before its
		// description came.
		"without a description": func() { delete(props(one), "description") },
		"with another's":        func() { props(one)["description"] = "made by Ingot; name=state; ingot-state=1234" },
		"deleted":               func() { props(one)["size"] = 0 },
		"a CD-ROM":              func() { props(one)["imageType"] = "CDROM" },
	} {
		before := make(object)
		merge(before, props(one))
		change()
		other, e2 := image()
		if other.image == first.image || len(e2.Created) != 1 {
			t.Errorf("%s: it was taken, or not written of", name)
		}
		props(byID(r.cloud.state.Images, other.image))["size"] = 0
		one["properties"] = before
	}
	// Until it is whole it belongs to its entry.
	if found, err := r.Find(t.Context(), e.ID); err != nil || len(found) != 0 {
		t.Errorf("found are %v, %v", found, err)
	}
	delete(props(one), "description")
	if found, err := r.Find(t.Context(), e.ID); err != nil || !slices.Equal(kindsOf(found), []string{kindImage}) {
		t.Errorf("found are %v, %v", found, err)
	}
	if list, err := r.Images(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("images that servers can be made of are %v, %v", list, err)
	}
}

// A server that was made without its volume has its state on the wrong disk.
func TestStateThatWasForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.keeping()
	r.cloud.forgetsState = true
	e := r.begin(t)
	image, err := p.Upload(t.Context(), testUpload(e))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Deploy(t.Context(), testMachine(e, image))
	if fault.Of(err) != fault.OfProvider || !strings.Contains(err.Error(), "without the volume for its state") {
		t.Errorf("it is deployed: %v", err)
	}
	if _, err := e.Collect(t.Context(), r.Provider); err != nil {
		t.Fatal(err)
	}
	r.empty(t, e.ID)
}
