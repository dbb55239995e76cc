package openstack

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"ingot/fault"
	"ingot/providers"
)

// kindAlarm is Aodh's word.
const kindAlarm = "alarm"

// aodhAlarm is an alarm as Aodh writes it, which the SDK has no type for. There are
// only the members that Ingot sets.
type aodhAlarm struct {
	ID          string   `json:"alarm_id,omitempty"`
	Name        string   `json:"name"`
	Description string   `json:"description"` // a mark
	Type        string   `json:"type"`
	Enabled     bool     `json:"enabled"`
	Severity    string   `json:"severity"`
	Actions     []string `json:"alarm_actions"`
	Repeat      bool     `json:"repeat_actions"`

	// One of them, by the type.
	OfResource  *aodhRule `json:"gnocchi_resources_threshold_rule,omitempty"`
	OfResources *aodhRule `json:"gnocchi_aggregation_by_resources_threshold_rule,omitempty"`
}

// The types of alarms: about one of Gnocchi's resources, and about all that a query
// finds.
const (
	typeOfResource  = "gnocchi_resources_threshold"
	typeOfResources = "gnocchi_aggregation_by_resources_threshold"
)

// aodhRule is when an alarm goes off: every one of so many last values is beyond the
// threshold.
type aodhRule struct {
	Metric       string  `json:"metric"`
	ResourceType string  `json:"resource_type"`
	ResourceID   string  `json:"resource_id,omitempty"` // of one resource
	Query        string  `json:"query,omitempty"`       // of many; JSON
	Aggregation  string  `json:"aggregation_method"`
	Comparison   string  `json:"comparison_operator"`
	Threshold    float64 `json:"threshold"`
	Granularity  int     `json:"granularity"` // seconds that one value is of
	Periods      int     `json:"evaluation_periods"`
}

// rule is whichever there is; nil of an alarm that is about something else.
func (a aodhAlarm) rule() *aodhRule {
	if a.OfResource != nil {
		return a.OfResource
	}
	return a.OfResources
}

// same reports whether an alarm is the wanted one already.
func (a aodhAlarm) same(want aodhAlarm) bool {
	have, wanted := a.rule(), want.rule()
	if have == nil || a.Type != want.Type || !sameSet(a.Actions, want.Actions) || !sameNumber(have.Threshold, wanted.Threshold) || !sameQuery(have.Query, wanted.Query) {
		return false
	}
	rest := *have
	rest.Threshold, rest.Query = wanted.Threshold, wanted.Query
	return rest == *wanted && a.Name == want.Name && a.Description == want.Description && a.Enabled == want.Enabled && a.Severity == want.Severity && a.Repeat == want.Repeat
}

// sameSet compares without order: Aodh changes that of addresses.
func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// sameNumber allows for a database that keeps fewer digits.
func sameNumber(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) }

// sameQuery compares what was asked for with what Aodh keeps: for an ordinary user
// {"and": [LIMIT, QUERY]}, with a limit to what the project may see.
func sameQuery(have, want string) bool {
	var h, w any
	if have == want {
		return true
	}
	if json.Unmarshal([]byte(have), &h) != nil || json.Unmarshal([]byte(want), &w) != nil {
		return false
	}
	if limited, ok := h.(map[string]any); ok && len(limited) == 1 {
		if parts, ok := limited["and"].([]any); ok && len(parts) == 2 && reflect.DeepEqual(parts[1], w) {
			return true
		}
	}
	return reflect.DeepEqual(h, w)
}

// newAlarming finds the service by what the SDK has for services that it knows.
func newAlarming(client *gophercloud.ProviderClient, where gophercloud.EndpointOpts) (*gophercloud.ServiceClient, error) {
	where.ApplyDefaults("alarming")
	endpoint, err := client.EndpointLocator(where)
	if err != nil {
		return nil, err
	}
	made := &gophercloud.ServiceClient{ProviderClient: client, Endpoint: endpoint, Type: where.Type}
	if !strings.HasSuffix(endpoint, "/v2/") {
		made.ResourceBase = endpoint + "v2/"
	}
	return made, nil
}

func (p *Provider) needAlarming() error {
	if p.alarming == nil {
		return fault.Input(fmt.Errorf("this cloud has no alarming service: %w", providers.ErrUnsupported))
	}
	return nil
}

// listAlarms are all of the project.
func (p *Provider) listAlarms(ctx context.Context) (all []aodhAlarm, err error) {
	if p.alarming == nil {
		return nil, nil
	}
	query := url.Values{"q.field": {"project_id"}, "q.op": {"eq"}, "q.value": {p.project}}
	_, err = p.alarming.Get(ctx, p.alarming.ServiceURL("alarms")+"?"+query.Encode(), &all, nil)
	return all, p.wrap("list the alarms", err)
}

// ourAlarms are those with a mark.
func (p *Provider) ourAlarms(ctx context.Context, m mark) ([]aodhAlarm, error) {
	all, err := p.listAlarms(ctx)
	return slices.DeleteFunc(all, func(a aodhAlarm) bool { return !m.hasMark(a.Description) }), err
}

// ensureAlarm makes one, if it is not there.
func (p *Provider) ensureAlarm(ctx context.Context, m mark, want aodhAlarm, journal *providers.Entry) error {
	_, err := ensure(ctx, p, journal, maker[string]{
		kind: kindAlarm, name: want.Name,
		look: func(ctx context.Context) (string, bool, error) {
			ours, err := p.ourAlarms(ctx, m)
			for _, a := range ours {
				if a.Name == want.Name {
					return a.ID, true, nil
				}
			}
			return "", false, err
		},
		make: func(ctx context.Context) (string, error) {
			var made aodhAlarm
			_, err := p.alarming.Post(ctx, p.alarming.ServiceURL("alarms"), want, &made, nil)
			return made.ID, err
		},
	})
	return err
}

// putAlarm makes an alarm the wanted one. Its state is unknown then, and whoever is
// told is told anew.
func (p *Provider) putAlarm(ctx context.Context, id string, want aodhAlarm) error {
	_, err := p.alarming.Put(ctx, p.alarming.ServiceURL("alarms", id), want, nil, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}})
	return p.wrap("change the alarm "+want.Name, err)
}

func (p *Provider) deleteAlarm(ctx context.Context, id string) error {
	_, err := p.alarming.Delete(ctx, p.alarming.ServiceURL("alarms", id), nil)
	return err
}

func (p *Provider) findAlarms(ctx context.Context, id string) (found []providers.Resource, err error) {
	all, err := p.listAlarms(ctx)
	for _, a := range all {
		if m, ok := readMark(a.Description); ok && m.id == id {
			found = append(found, providers.Resource{Kind: kindAlarm, ID: a.ID, Name: a.Name})
		}
	}
	return found, err
}
