package ionos

import (
	"context"
	"fmt"
	"net/http"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
)

// The states of a server's machine that Ingot waits for (ServerProperties.vmState).
const (
	running = "RUNNING"
	shutOff = "SHUTOFF"
)

// read is one of the two servers as it is now.
func (p *Provider) read(ctx context.Context, e end) (*sdk.ServerProperties, error) {
	s, response, err := p.api.ServersApi.DatacentersServersFindById(ctx, e.dc, e.server).Execute()
	if err := checkAnswer("look at the server "+e.name, response, err); err != nil {
		return nil, err
	}
	if s.Properties == nil {
		return nil, fault.Provider(fmt.Errorf("look at the server %s: IONOS leaves out its properties", e.name))
	}
	return s.Properties, nil
}

func (p *Provider) stateOf(ctx context.Context, e end) (string, error) {
	s, err := p.read(ctx, e)
	if err != nil {
		return "", err
	}
	return deref(s.VmState), nil
}

// power switches a server on or off, if it is not so.
func (p *Provider) power(ctx context.Context, e end, want string) error {
	api, what := p.api.ServersApi, "switch off the server "+e.name
	send := func(ctx context.Context) (*sdk.APIResponse, error) {
		return api.DatacentersServersStopPost(ctx, e.dc, e.server).Execute()
	}
	if want == running {
		what = "switch on the server " + e.name
		send = func(ctx context.Context) (*sdk.APIResponse, error) {
			return api.DatacentersServersStartPost(ctx, e.dc, e.server).Execute()
		}
	}
	return p.until(ctx, what, func() (bool, error) {
		state, err := p.stateOf(ctx, e)
		return state == want, err
	}, send)
}

// isDone reports whether both volumes are where they shall be.
func (x *exchange) isDone(ctx context.Context) (bool, error) {
	moved, err := x.has(ctx, x.to, x.moved)
	if err != nil || !moved {
		return false, err
	}
	return x.has(ctx, x.from, x.given)
}

// isAsBefore reports whether both are where they came from.
func (x *exchange) isAsBefore(ctx context.Context) (bool, error) {
	moved, err := x.has(ctx, x.from, x.moved)
	if err != nil || !moved {
		return false, err
	}
	return x.has(ctx, x.to, x.given)
}

// has reports whether a volume is attached to a server.
func (x *exchange) has(ctx context.Context, e end, v sdk.Volume) (bool, error) {
	list, err := x.p.volumesOf(ctx, x.dc, e.server)
	for _, one := range list {
		if deref(one.Id) == *v.Id {
			return true, err
		}
	}
	return false, err
}

func (x *exchange) detach(ctx context.Context, v sdk.Volume, e end) error {
	return x.p.until(ctx, "take its state off the server "+e.name, func() (bool, error) {
		has, err := x.has(ctx, e, v)
		return !has, err
	}, func(ctx context.Context) (*sdk.APIResponse, error) {
		return x.p.api.ServersApi.DatacentersServersVolumesDelete(ctx, x.dc, e.server, *v.Id).Execute()
	})
}

func (x *exchange) attach(ctx context.Context, v sdk.Volume, e end) error {
	return x.p.until(ctx, "give the server "+e.name+" another's state", func() (bool, error) {
		return x.has(ctx, e, v)
	}, func(ctx context.Context) (*sdk.APIResponse, error) {
		_, response, err := x.p.api.ServersApi.DatacentersServersVolumesPost(ctx, x.dc, e.server).Volume(sdk.Volume{Id: v.Id}).Execute()
		return response, err
	})
}

// keepBoot has a server start from the volume that it was made with, should IONOS have
// taken the new one for it.
func (x *exchange) keepBoot(ctx context.Context, e end, state sdk.Volume) error {
	now, err := x.p.read(ctx, e)
	if err != nil || now.BootVolume == nil || deref(now.BootVolume.Id) != *state.Id {
		return err
	}
	list, err := x.p.volumesOf(ctx, x.dc, e.server)
	if err != nil {
		return err
	}
	for _, v := range list {
		if v.Id == nil || v.Properties == nil || deref(v.Properties.BootOrder) == notBooted {
			continue
		}
		change := sdk.ServerProperties{Cores: now.Cores, Ram: now.Ram, BootVolume: &sdk.ResourceReference{Id: v.Id}}
		return x.p.repeat(ctx, "have the server "+e.name+" start from its own disk", func(ctx context.Context) (*sdk.APIResponse, error) {
			_, response, err := x.p.api.ServersApi.DatacentersServersPatch(ctx, x.dc, e.server).Server(change).Execute()
			return response, err
		})
	}
	return fault.Provider(fmt.Errorf("the server %s would start from its state, and IONOS shows no other volume of it to start from; see how it stands there", e.name))
}

// settledCenter waits until nothing is carried out in a data center: what a process that
// was ended has asked for may be.
func (p *Provider) settledCenter(ctx context.Context, dc string) error {
	return p.quiet(ctx, "wait for the data center", func() (*sdk.DatacenterElementMetadata, *sdk.APIResponse, error) {
		d, response, err := p.api.DataCentersApi.DatacentersFindById(ctx, dc).Execute()
		return d.Metadata, response, err
	})
}

// settledBlock is settledCenter for a reserved address, which is in none. One that is
// gone is no error.
func (p *Provider) settledBlock(ctx context.Context, id string) error {
	err := p.quiet(ctx, "wait for the reserved address", func() (*sdk.DatacenterElementMetadata, *sdk.APIResponse, error) {
		b, response, err := p.api.IPBlocksApi.IpblocksFindById(ctx, id).Execute()
		return b.Metadata, response, err
	})
	if isGone(err) {
		return nil
	}
	return err
}

// quiet waits until something is not busy.
func (p *Provider) quiet(ctx context.Context, what string, get func() (*sdk.DatacenterElementMetadata, *sdk.APIResponse, error)) error {
	for {
		metadata, response, err := get()
		if err := checkAnswer(what, response, err); err != nil || !isBusyState(metadata) {
			return err
		}
		if err := rest(ctx, p.pace.poll); err != nil {
			return giveUp(what, err)
		}
	}
}

// until sends a request until what it is for is so. That is looked at after each: an
// answer may be lost, and what is done already may be refused.
func (p *Provider) until(ctx context.Context, what string, so func() (bool, error), send func(context.Context) (*sdk.APIResponse, error)) error {
	if there, err := so(); err != nil || there {
		return err
	}
	for n := 1; ; n++ {
		err := p.submit(ctx, what, send)
		if err != nil && !isLost(err) && !isStatus(err, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity) {
			return err
		}
		there, e := p.look(ctx, so)
		switch {
		case e != nil || there:
			return e
		case err == nil:
			return fault.Provider(fmt.Errorf("%s: IONOS says that it is done, and does not show it", what))
		case !isLost(err) || n == createTries:
			return err
		}
	}
}
