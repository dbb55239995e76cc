package ionos

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// DefaultSize is a server's: 2 cores, 4 GB of memory, a disk of 20 GB.
const DefaultSize = "2-4-20"

// size is what a server gets.
type size struct{ cores, memory, disk int } // memory and disk in GB

var sizes = regexp.MustCompile(`^([1-9][0-9]{0,2})-([1-9][0-9]{0,2})-([1-9][0-9]{0,3})$`)

func parseSize(text string) (size, error) {
	if text == "" {
		text = DefaultSize
	}
	m := sizes.FindStringSubmatch(text)
	if m == nil {
		return size{}, fault.Input(fmt.Errorf("%q is no size for IONOS: it is CORES-MEMORY-DISK, the last two in GB, such as %s", text, DefaultSize))
	}
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1])
	}
	return size{n[0], n[1], n[2]}, nil
}

// Deploy implements [providers.Provider].
func (p *Provider) Deploy(ctx context.Context, m providers.Machine) (providers.Server, error) {
	id, err := entryOf(m.Labels, m.Journal)
	if err != nil {
		return providers.Server{}, err
	}
	big, err := p.checkMachine(m)
	if err != nil {
		return providers.Server{}, err
	}
	disk, err := p.checkImage(ctx, m.Image.ID, big)
	if err != nil {
		return providers.Server{}, err
	}
	if disk.state, err = p.stateImage(ctx, m, id); err != nil {
		return providers.Server{}, err
	}
	dc, err := p.datacenter(ctx, m, id)
	if err != nil {
		return providers.Server{}, err
	}
	cdrom := ""
	if len(m.UserData) > 0 {
		if cdrom, err = p.config(ctx, m, id); err != nil {
			return providers.Server{}, err
		}
	}
	lan, err := p.lan(ctx, dc, m, id)
	if err != nil {
		return providers.Server{}, err
	}
	address, err := p.reserve(ctx, m, id)
	if err != nil {
		return providers.Server{}, err
	}
	server, err := p.server(ctx, dc, m, id, composite(m, id, disk, lan, cdrom, address))
	if cdrom != "" && isStatus(err, http.StatusBadRequest, http.StatusUnprocessableEntity) {
		// IONOS' document has CD-ROMs in this request, and no program is known that
		// sends them so: it is put in afterwards, see insert.
		server, err = p.server(ctx, dc, m, id, composite(m, id, disk, lan, "", address))
	}
	if err != nil {
		return providers.Server{}, err
	}
	return p.finish(ctx, dc, server, cdrom, disk.state.digest, m, id)
}

// checkMachine finds what is wrong before anything is made.
func (p *Provider) checkMachine(m providers.Machine) (size, error) {
	if err := checkName(m.Name); err != nil {
		return size{}, err
	}
	if m.Location != "" && m.Location != p.opts.Location {
		return size{}, fault.Input(fmt.Errorf("the image is in %s: upload it to %s first", p.opts.Location, m.Location))
	}
	if len(m.UserData) > providers.MaxUserData {
		return size{}, fault.Input(fmt.Errorf("the instance config has %d bytes and may have %d", len(m.UserData), providers.MaxUserData))
	}
	for _, r := range m.Rules {
		if protocols[r.Proto] == "" {
			return size{}, fault.Input(fmt.Errorf("IONOS' firewall has no protocol %q", r.Proto))
		}
	}
	return parseSize(m.Size)
}

// disks are the volume that a server starts from and that for its state.
type disks struct {
	image string
	size  size
	state stateDisk
}

// checkImage looks whether an image can be started from.
func (p *Provider) checkImage(ctx context.Context, id string, s size) (disks, error) {
	image, err := p.image(ctx, id)
	if isGone(err) {
		return disks{}, fault.Input(fmt.Errorf("IONOS has no image %s: upload it again", id))
	}
	if err != nil {
		return disks{}, err
	}
	if where := deref(image.Properties.Location); where != p.opts.Location {
		return disks{}, fault.Input(fmt.Errorf("the image is in %s and the server shall be in %s", where, p.opts.Location))
	}
	if !alive(image) || !onDisk(image) {
		return disks{}, fault.Input(fmt.Errorf("the image %s was deleted, or is no disk: upload it again", id))
	}
	s.disk = max(s.disk, int(math.Ceil(float64(deref(image.Properties.Size)))))
	return disks{image: id, size: s}, nil
}

// composite is a server with all that belongs to it: made in one request, so that the
// firewall is there before the first packet.
func composite(m providers.Machine, id string, d disks, lan int32, cdrom string, address string) sdk.Server {
	rules := []sdk.FirewallRule{}
	for _, r := range m.Rules {
		rules = append(rules, sdk.FirewallRule{Properties: properties(r)})
	}
	card := sdk.Nic{
		Properties: &sdk.NicProperties{
			Name: ptr(cardName), Lan: ptr(lan), Dhcp: ptr(true),
			FirewallActive: ptr(true), FirewallType: ptr(ingress),
		},
		Entities: &sdk.NicEntities{Firewallrules: &sdk.FirewallRules{Items: &rules}},
	}
	if address != "" {
		card.Properties.Ips = &[]string{address}
	}
	// With "AUTO" a CD-ROM is started from. With a "PRIMARY" all others must be "NONE".
	volumes := []sdk.Volume{volume(m.Name+mark(id), d.image, d.size.disk, "PRIMARY")}
	if d.state.size > 0 {
		volumes = append(volumes, volume(stateName(m.Name, id), d.state.image, d.state.size, notBooted))
	}
	s := sdk.Server{
		Properties: &sdk.ServerProperties{
			Name: ptr(m.Name + mark(id)), Type: ptr("VCPU"),
			Cores: ptr(int32(d.size.cores)), Ram: ptr(int32(d.size.memory * 1024)),
		},
		Entities: &sdk.ServerEntities{
			Volumes: &sdk.AttachedVolumes{Items: &volumes},
			Nics:    &sdk.Nics{Items: &[]sdk.Nic{card}},
		},
	}
	if cdrom != "" {
		s.Entities.Cdroms = &sdk.Cdroms{Items: &[]sdk.Image{{Id: ptr(cdrom)}}}
	}
	return s
}

// notBooted is the boot order of a volume that is not started from.
const notBooted = "NONE"

// volume is one that is made of an image.
func volume(name, image string, size int, order string) sdk.Volume {
	return sdk.Volume{Properties: &sdk.VolumeProperties{
		Name: ptr(name), Type: ptr("SSD"), Size: ptr(float32(size)), Image: ptr(image), Bus: ptr("VIRTIO"), BootOrder: ptr(order),
	}}
}

// finish gives a server its labels, and proves that its CD-ROM and its firewall are
// there.
func (p *Provider) finish(ctx context.Context, dc, server, cdrom, state string, m providers.Machine, id string) (providers.Server, error) {
	if err := p.insert(ctx, dc, server, cdrom); err != nil {
		return providers.Server{}, err
	}
	if err := p.labelAll(ctx, dc, server, state, m, id); err != nil {
		return providers.Server{}, err
	}
	made := providers.Server{ID: join(dc, server)}
	w, err := p.Wall(ctx, made)
	if err != nil {
		return providers.Server{}, err
	}
	if _, err := providers.Apply(ctx, w, m.Rules, false); err != nil {
		return providers.Server{}, err
	}
	s, response, err := p.api.ServersApi.DatacentersServersFindById(ctx, dc, server).Execute()
	if err := checkAnswer("look at the server", response, err); err != nil {
		return providers.Server{}, err
	}
	labels := withID(m.Labels, id)
	labels[providers.LabelServer] = m.Name
	return p.serverOf(ctx, dc, s, labels)
}

// labelAll labels a server and its volumes. state is the digest of what the one for the
// state was made of, when there shall be one.
func (p *Provider) labelAll(ctx context.Context, dc, server, state string, m providers.Machine, id string) error {
	have, err := p.labels(ctx)
	if err != nil {
		return err
	}
	want := withID(m.Labels, id)
	want[providers.LabelServer] = m.Name
	keepsState := func(v sdk.Volume) bool {
		return state != "" && v.Properties != nil && deref(v.Properties.Name) == stateName(m.Name, id)
	}
	var volumes []sdk.Volume
	whole, err := p.look(ctx, func() (bool, error) {
		var err error
		volumes, err = p.volumesOf(ctx, dc, server)
		return state == "" || slices.ContainsFunc(volumes, keepsState), err
	})
	if err != nil {
		return err
	}
	if !whole {
		return fault.Provider(fmt.Errorf("IONOS has made the server %s without the volume for its state, which it has on its own disk now; remove it and deploy again", m.Name))
	}
	for _, v := range volumes {
		labels := want
		if keepsState(v) {
			// No others: those are of the server that it was deployed with.
			labels = withID(map[string]string{providers.LabelServer: m.Name, labelState: state, labelBorn: id}, id)
		}
		if err := p.label(ctx, p.volumeLabels(dc, deref(v.Id)), have[deref(v.Id)], labels); err != nil {
			return err
		}
	}
	return p.label(ctx, p.serverLabels(dc, server), have[server], want)
}

// insert attaches the CD-ROM to a server that was made without, and starts it again:
// it has looked for its config already.
func (p *Provider) insert(ctx context.Context, dc, server, cdrom string) error {
	if cdrom == "" {
		return nil
	}
	list, err := p.discs(ctx, dc, server)
	if err != nil {
		return err
	}
	for _, d := range list {
		if deref(d.Id) == cdrom {
			return nil
		}
	}
	err = p.submit(ctx, "insert the CD-ROM", func(ctx context.Context) (*sdk.APIResponse, error) {
		_, response, err := p.api.ServersApi.DatacentersServersCdromsPost(ctx, dc, server).Cdrom(sdk.Image{Id: ptr(cdrom)}).Execute()
		return response, err
	})
	if err != nil {
		return err
	}
	return p.repeat(ctx, "start the server again", func(ctx context.Context) (*sdk.APIResponse, error) {
		return p.api.ServersApi.DatacentersServersRebootPost(ctx, dc, server).Execute()
	})
}

func (p *Provider) discs(ctx context.Context, dc, server string) ([]sdk.Image, error) {
	list, response, err := p.api.ServersApi.DatacentersServersCdromsGet(ctx, dc, server).Depth(1).Execute()
	return deref(list.Items), checkAnswer("list the CD-ROMs", response, err)
}

func (p *Provider) volumesOf(ctx context.Context, dc, server string) ([]sdk.Volume, error) {
	list, response, err := p.api.ServersApi.DatacentersServersVolumesGet(ctx, dc, server).Depth(1).Execute()
	return deref(list.Items), checkAnswer("list the server's volumes", response, err)
}

// join and split make one id of those of a data center and of something in it.
func join(dc, id string) string { return dc + "/" + id }

func split(id string) (dc, inner string, err error) {
	dc, inner, ok := strings.Cut(id, "/")
	if !ok || dc == "" || inner == "" || strings.ContainsAny(inner, "/?#") {
		return "", "", fault.Input(fmt.Errorf("%q is no id of something in a data center of IONOS: it is DATACENTER/ID", id))
	}
	return dc, inner, nil
}
