package ionos

import (
	"context"
	"fmt"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// server makes a server, or finds the one that an earlier request made.
func (p *Provider) server(ctx context.Context, dc string, m providers.Machine, id string, want sdk.Server) (string, error) {
	find := func() (string, error) {
		list, err := p.servers(ctx, dc)
		for _, s := range list {
			if id != "" && deref(s.Properties.Name) == m.Name+mark(id) {
				return deref(s.Id), err
			}
		}
		return "", err
	}
	found, err := find()
	if err != nil {
		return "", err
	}
	if found == "" {
		if err := m.Journal.Creates("server", m.Name+mark(id)); err != nil {
			return "", err
		}
		for _, v := range *want.Entities.Volumes.Items {
			if err := m.Journal.Creates("volume", *v.Properties.Name); err != nil {
				return "", err
			}
		}
		found, err = p.create(ctx, "make the server", find, func(ctx context.Context) (*string, *sdk.APIResponse, error) {
			s, response, err := p.api.ServersApi.DatacentersServersPost(ctx, dc).Server(want).Execute()
			return s.Id, response, err
		})
		if err != nil {
			return "", err
		}
	}
	return found, p.settled(ctx, dc, found)
}

// create sends a request that makes something. When the answer is lost it looks for
// what may have been made.
func (p *Provider) create(ctx context.Context, what string, find func() (string, error), send func(context.Context) (*string, *sdk.APIResponse, error)) (string, error) {
	for n := 1; ; n++ {
		var made string
		err := p.submit(ctx, what, func(ctx context.Context) (*sdk.APIResponse, error) {
			id, response, err := send(ctx)
			made = deref(id)
			return response, err
		})
		if err == nil && made == "" {
			err = fault.Provider(fmt.Errorf("%s: IONOS leaves out its id", what))
		}
		if err == nil || !isLost(err) {
			return made, err
		}
		found := ""
		_, e := p.look(ctx, func() (bool, error) {
			var err error
			found, err = find()
			return found != "", err
		})
		if e != nil || found != "" {
			return found, e
		}
		if n == createTries {
			return "", err
		}
	}
}

// settled waits until a server is as it shall be.
func (p *Provider) settled(ctx context.Context, dc, server string) error {
	ctx, cancel := context.WithTimeout(ctx, p.pace.request)
	defer cancel()
	const what = "wait for the server"
	missing := 0
	for {
		s, response, err := p.api.ServersApi.DatacentersServersFindById(ctx, dc, server).Execute()
		switch err := checkAnswer(what, response, err); {
		case isGone(err) && missing < p.pace.looks: // not known everywhere yet
			missing++
		case err != nil:
			return err
		case !isBusyState(s.Metadata):
			return nil
		}
		if err := rest(ctx, p.pace.poll); err != nil {
			return giveUp(what, err)
		}
	}
}
