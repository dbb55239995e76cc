package ionos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// mark is what names of things made under a journal's entry end with, or nothing. It
// is there from the request on that makes the thing; labels come after.
func mark(id string) string {
	if id == "" {
		return ""
	}
	return "-ingot-" + id
}

// marked reports whether a name carries the number of an entry.
func marked(name, id string) bool {
	return id != "" && (strings.HasSuffix(name, mark(id)) || strings.Contains(name, mark(id)+".") || strings.Contains(name, mark(id)+"-"))
}

// entryOf is the number of the entry that something is made under.
func entryOf(labels map[string]string, journal *providers.Entry) (string, error) {
	id := labels[providers.LabelID]
	if journal != nil {
		if id != "" && id != journal.ID {
			return "", fmt.Errorf("the label %s is %s and the journal's entry %s", providers.LabelID, id, journal.ID)
		}
		id = journal.ID
	}
	return id, nil
}

// withID adds the number to labels.
func withID(labels map[string]string, id string) map[string]string {
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	if id != "" {
		labels[providers.LabelID] = id
	}
	return labels
}

// names are those that a server may have: they become part of names of files.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,59}$`)

func checkName(name string) error {
	if !names.MatchString(name) {
		return fault.Input(fmt.Errorf("%q is no name for IONOS: use at most 60 letters, digits, dots and dashes", name))
	}
	return nil
}

// made is how the description of an image or a data center of Ingot's begins.
const made = "made by Ingot"

// describe puts labels into a description: "made by Ingot; ingot-id=…; …".
func describe(name string, labels map[string]string) string {
	parts := []string{made, "name=" + name}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, key+"="+labels[key])
	}
	return strings.Join(parts, "; ")
}

// described reads them.
func described(text string) (name string, labels map[string]string, ok bool) {
	parts := strings.Split(text, "; ")
	if parts[0] != made {
		return "", nil, false
	}
	labels = map[string]string{}
	for _, part := range parts[1:] {
		key, value, _ := strings.Cut(part, "=")
		if key == "name" {
			name = value
		} else {
			labels[key] = value
		}
	}
	return name, labels, true
}

// sameBut reports whether labels are the same but for the number of the entry.
func sameBut(a, b map[string]string) bool {
	a, b = maps.Clone(a), maps.Clone(b)
	delete(a, providers.LabelID)
	delete(b, providers.LabelID)
	return maps.Equal(a, b)
}

// labels are those of all resources of the contract, by the resource's id.
func (p *Provider) labels(ctx context.Context) (map[string]map[string]string, error) {
	list, response, err := p.api.LabelsApi.LabelsGet(ctx).Depth(1).Execute()
	if err := checkAnswer("list the labels", response, err); err != nil {
		return nil, err
	}
	all := map[string]map[string]string{}
	for _, l := range deref(list.Items) {
		if l.Properties == nil || l.Properties.Key == nil || l.Properties.ResourceId == nil {
			return nil, fault.Provider(errors.New("list the labels: IONOS leaves out what they are of"))
		}
		of := *l.Properties.ResourceId
		if all[of] == nil {
			all[of] = map[string]string{}
		}
		all[of][*l.Properties.Key] = deref(l.Properties.Value)
	}
	return all, nil
}

// labelled is something that takes labels.
type labelled struct {
	what string
	post func(context.Context, sdk.LabelResource) (*sdk.APIResponse, error)
	put  func(context.Context, string, sdk.LabelResource) (*sdk.APIResponse, error)
	drop func(context.Context, string) (*sdk.APIResponse, error) // none for servers
}

func (p *Provider) serverLabels(dc, server string) labelled {
	api := p.api.LabelsApi
	return labelled{"label the server",
		func(ctx context.Context, l sdk.LabelResource) (*sdk.APIResponse, error) {
			_, r, err := api.DatacentersServersLabelsPost(ctx, dc, server).Label(l).Execute()
			return r, err
		},
		func(ctx context.Context, key string, l sdk.LabelResource) (*sdk.APIResponse, error) {
			_, r, err := api.DatacentersServersLabelsPut(ctx, dc, server, key).Label(l).Execute()
			return r, err
		},
		nil}
}

func (p *Provider) volumeLabels(dc, volume string) labelled {
	api := p.api.LabelsApi
	return labelled{"label the volume",
		func(ctx context.Context, l sdk.LabelResource) (*sdk.APIResponse, error) {
			_, r, err := api.DatacentersVolumesLabelsPost(ctx, dc, volume).Label(l).Execute()
			return r, err
		},
		func(ctx context.Context, key string, l sdk.LabelResource) (*sdk.APIResponse, error) {
			_, r, err := api.DatacentersVolumesLabelsPut(ctx, dc, volume, key).Label(l).Execute()
			return r, err
		},
		func(ctx context.Context, key string) (*sdk.APIResponse, error) {
			return api.DatacentersVolumesLabelsDelete(ctx, dc, volume, key).Execute()
		}}
}

// relabel is label for what has these labels, where a list of their values may be of
// before: all are written.
func (p *Provider) relabel(ctx context.Context, of labelled, want map[string]string) error {
	have := map[string]string{}
	for key, value := range want {
		have[key] = value + "?"
	}
	return p.label(ctx, of, have, want)
}

// label gives something the labels that it lacks.
func (p *Provider) label(ctx context.Context, of labelled, have, want map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		value, there := have[key]
		if there && value == want[key] {
			continue
		}
		l := sdk.LabelResource{Properties: &sdk.LabelResourceProperties{Key: ptr(key), Value: ptr(want[key])}}
		put := func(ctx context.Context) (*sdk.APIResponse, error) { return of.put(ctx, key, l) }
		if there {
			if err := p.repeat(ctx, of.what, put); err != nil {
				return err
			}
			continue
		}
		err := p.submit(ctx, of.what, func(ctx context.Context) (*sdk.APIResponse, error) { return of.post(ctx, l) })
		if isLost(err) || isStatus(err, http.StatusConflict, http.StatusUnprocessableEntity) {
			// It was made by the request whose answer was lost, or now.
			if e := p.repeat(ctx, of.what, put); e == nil {
				err = nil
			} else if isLost(err) && isGone(e) {
				err = p.submit(ctx, of.what, func(ctx context.Context) (*sdk.APIResponse, error) { return of.post(ctx, l) })
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unlabel takes a label off something. One that is not there is no error.
func (p *Provider) unlabel(ctx context.Context, of labelled, key string) error {
	err := p.repeat(ctx, of.what, func(ctx context.Context) (*sdk.APIResponse, error) { return of.drop(ctx, key) })
	if isGone(err) {
		return nil
	}
	return err
}
