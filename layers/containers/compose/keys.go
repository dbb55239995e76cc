package compose

import (
	"reflect"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/types"
)

// fate is what becomes of a key of the compose file.
type fate int

const (
	translated fate = iota
	ignored         // with a remark
	refused         // with advice
)

// rule is the fate of one key. It holds for everything below the key too when
// it is not translated.
type rule struct {
	fate fate
	text string // why it is ignored, or what to do instead
}

func ignore(why string) rule    { return rule{ignored, why} }
func refuse(advice string) rule { return rule{refused, advice} }

var translate = rule{}

const (
	windows  = "remove it: it is for Windows"
	swarm    = "it is for a cluster; here is one machine"
	legacy   = "remove it: Compose itself has dropped it"
	pinned   = "remove it: images are in the sealed root, and change with a new image of the server"
	cgroups2 = "remove it: the kernel's second version of control groups has no such thing"
)

// serviceRules are the fates of all keys of a service, by their path in
// [types.ServiceConfig]: "[]" is an item of a list, "*" any key of a mapping. A
// test holds them against the type, so that a key of a later Compose is not
// dropped.
var serviceRules = map[string]rule{
	"profiles":                        translate, // compose-go leaves out the services that are off
	"profiles[]":                      translate,
	"annotations":                     translate,
	"annotations.*":                   translate,
	"attach":                          ignore("the journal has every container's output"),
	"build":                           refuse("images are not built on the way: build it before, push it to a registry or save it into an OCI layout, and name it with image"),
	"develop":                         ignore("a server is not for development"),
	"blkio_config":                    translate,
	"blkio_config.weight":             translate,
	"blkio_config.weight_device":      refuse("use weight, which holds for all disks"),
	"blkio_config.device_read_bps":    refuse("use weight: names of disks differ from provider to provider"),
	"blkio_config.device_read_iops":   refuse("use weight: names of disks differ from provider to provider"),
	"blkio_config.device_write_bps":   refuse("use weight: names of disks differ from provider to provider"),
	"blkio_config.device_write_iops":  refuse("use weight: names of disks differ from provider to provider"),
	"cap_add":                         translate,
	"cap_add[]":                       translate,
	"cap_drop":                        ignore("a container has no capabilities but those of cap_add"),
	"cgroup_parent":                   refuse("remove it: a container is in the control group of its unit"),
	"cgroup":                          translate,
	"cpu_count":                       refuse(windows),
	"cpu_percent":                     refuse(windows),
	"cpu_period":                      translate,
	"cpu_quota":                       translate,
	"cpu_rt_period":                   refuse("use cpus: real-time scheduling is not for containers here"),
	"cpu_rt_runtime":                  refuse("use cpus: real-time scheduling is not for containers here"),
	"cpus":                            translate,
	"cpuset":                          translate,
	"cpu_shares":                      translate,
	"command":                         translate,
	"command[]":                       translate,
	"configs":                         translate,
	"configs[].source":                translate,
	"configs[].target":                translate,
	"configs[].uid":                   ignore("everybody in the container can read it, and nobody can write it"),
	"configs[].gid":                   ignore("everybody in the container can read it, and nobody can write it"),
	"configs[].mode":                  ignore("everybody in the container can read it, and nobody can write it"),
	"container_name":                  translate,
	"credential_spec":                 refuse(windows),
	"depends_on":                      translate,
	"depends_on.*":                    translate,
	"depends_on.*.condition":          translate,
	"depends_on.*.restart":            translate, // Requires= restarts with what it requires
	"depends_on.*.required":           translate,
	"deploy":                          translate,
	"deploy.mode":                     ignore(swarm),
	"deploy.replicas":                 translate,
	"deploy.labels":                   ignore(swarm),
	"deploy.update_config":            ignore(swarm),
	"deploy.rollback_config":          ignore(swarm),
	"deploy.placement":                ignore(swarm),
	"deploy.endpoint_mode":            ignore(swarm),
	"deploy.resources":                translate,
	"deploy.resources.limits":         translate,
	"deploy.resources.limits.cpus":    translate,
	"deploy.resources.limits.memory":  translate,
	"deploy.resources.limits.pids":    translate,
	"deploy.resources.limits.devices": refuse("name the devices with devices"),
	"deploy.resources.limits.generic_resources":       refuse("remove it: " + swarm),
	"deploy.resources.reservations":                   translate,
	"deploy.resources.reservations.cpus":              ignore("nothing is reserved on one machine; cpu_shares weighs"),
	"deploy.resources.reservations.memory":            translate,
	"deploy.resources.reservations.pids":              ignore("nothing is reserved on one machine"),
	"deploy.resources.reservations.devices":           refuse("name the devices with devices"),
	"deploy.resources.reservations.generic_resources": refuse("remove it: " + swarm),
	"deploy.restart_policy":                           translate,
	"deploy.restart_policy.condition":                 translate,
	"deploy.restart_policy.delay":                     translate,
	"deploy.restart_policy.max_attempts":              translate,
	"deploy.restart_policy.window":                    translate,
	"device_cgroup_rules":                             refuse("name each device with devices"),
	"devices":                                         translate,
	"devices[].source":                                translate,
	"devices[].target":                                translate,
	"devices[].permissions":                           translate,
	"dns":                                             translate,
	"dns[]":                                           translate,
	"dns_opt":                                         translate,
	"dns_opt[]":                                       translate,
	"dns_search":                                      translate,
	"dns_search[]":                                    translate,
	"dockerfile":                                      refuse(legacy),
	"domainname":                                      refuse("write it into hostname, such as hostname: web.example.com"),
	"entrypoint":                                      translate,
	"entrypoint[]":                                    translate,
	"provider":                                        refuse("describe the service itself with image: a provider is a program that runs on your machine"),
	"environment":                                     translate,
	"environment.*":                                   translate,
	"env_file":                                        translate,
	"env_file[].path":                                 translate,
	"env_file[].required":                             translate,
	"env_file[].format":                               refuse("remove it: the file is read as compose reads .env files"),
	"expose":                                          ignore("containers of one network reach all ports of each other"),
	"extends":                                         translate,
	"extends.file":                                    translate,
	"extends.service":                                 translate,
	"external_links":                                  refuse("put both services into this file and on one network"),
	"extra_hosts":                                     translate,
	"extra_hosts.*":                                   translate,
	"extra_hosts.*[]":                                 translate,
	"group_add":                                       translate,
	"group_add[]":                                     translate,
	"gpus":                                            refuse("remove it: the image's kernel has no drivers for them"),
	"hostname":                                        translate,
	"healthcheck":                                     translate,
	"healthcheck.test":                                translate,
	"healthcheck.test[]":                              translate,
	"healthcheck.timeout":                             translate,
	"healthcheck.interval":                            translate,
	"healthcheck.retries":                             translate,
	"healthcheck.start_period":                        translate,
	"healthcheck.start_interval":                      ignore("Podman asks every interval from the start"),
	"healthcheck.disable":                             translate,
	"image":                                           translate,
	"init":                                            translate,
	"ipc":                                             translate,
	"isolation":                                       refuse(windows),
	"labels":                                          translate,
	"labels.*":                                        translate,
	"label_file":                                      refuse("write the labels into labels"),
	"links":                                           translate,
	"links[]":                                         translate,
	"logging":                                         translate,
	"logging.driver":                                  translate,
	"logging.options":                                 ignore("the journal has its own limits, for all services"),
	"log_driver":                                      refuse("write it as logging: {driver: …}"),
	"log_opt":                                         refuse("write it as logging: {options: …}"),
	"mem_limit":                                       translate,
	"mem_reservation":                                 translate,
	"memswap_limit":                                   translate,
	"mem_swappiness":                                  refuse(cgroups2),
	"mac_address":                                     refuse("write it below the service's networks: mac_address: …"),
	"models":                                          refuse("run the model's server as a service with image"),
	"net":                                             refuse(legacy + "; it is called network_mode"),
	"network_mode":                                    translate,
	"networks":                                        translate,
	"networks.*":                                      translate,
	"networks.*.aliases":                              translate,
	"networks.*.aliases[]":                            translate,
	"networks.*.driver_opts":                          refuse("remove it: a bridge has no options for one container"),
	"networks.*.gw_priority":                          refuse("use priority"),
	"networks.*.interface_name":                       translate,
	"networks.*.ipv4_address":                         translate,
	"networks.*.ipv6_address":                         translate,
	"networks.*.link_local_ips":                       refuse("remove it: the kernel gives link-local addresses"),
	"networks.*.mac_address":                          translate,
	"networks.*.priority":                             translate,
	"networks.*.use_service_name_alias":               translate,
	"oom_kill_disable":                                refuse(cgroups2),
	"oom_score_adj":                                   translate,
	"pid":                                             translate,
	"pids_limit":                                      translate,
	"platform":                                        translate,
	"ports":                                           translate,
	"ports[].name":                                    ignore("it is a name for people"),
	"ports[].mode":                                    ignore(swarm),
	"ports[].host_ip":                                 translate,
	"ports[].target":                                  translate,
	"ports[].published":                               translate,
	"ports[].protocol":                                translate,
	"ports[].app_protocol":                            ignore("it is a name for people"),
	"privileged":                                      translate,
	"pull_policy":                                     translate,
	"pull_refresh_after":                              ignore(pinned),
	"read_only":                                       translate,
	"restart":                                         translate,
	"runtime":                                         refuse("remove it: crun runs all containers"),
	"scale":                                           translate,
	"secrets":                                         translate,
	"secrets[].source":                                translate,
	"secrets[].target":                                translate,
	"secrets[].uid":                                   ignore("everybody in the container can read it, and nobody outside"),
	"secrets[].gid":                                   ignore("everybody in the container can read it, and nobody outside"),
	"secrets[].mode":                                  ignore("everybody in the container can read it, and nobody outside"),
	"security_opt":                                    translate,
	"security_opt[]":                                  translate,
	"shm_size":                                        translate,
	"stdin_open":                                      ignore("a service has no terminal"),
	"stop_grace_period":                               translate,
	"stop_signal":                                     translate,
	"storage_opt":                                     refuse("remove it: images are in the sealed root"),
	"sysctls":                                         translate,
	"sysctls.*":                                       translate,
	"tmpfs":                                           translate,
	"tmpfs[]":                                         translate,
	"tty":                                             ignore("a service has no terminal"),
	"umask":                                           translate,
	"ulimits":                                         translate,
	"ulimits.*":                                       translate,
	"ulimits.*.single":                                translate,
	"ulimits.*.soft":                                  translate,
	"ulimits.*.hard":                                  translate,
	"use_api_socket":                                  refuse("there is no daemon here whose socket could be lent"),
	"user":                                            translate,
	"userns_mode":                                     translate,
	"uts":                                             refuse("remove it: a container has a host name of its own"),
	"volume_driver":                                   refuse("remove it: volumes are folders on the state partition"),
	"volumes":                                         translate,
	"volumes[].type":                                  translate,
	"volumes[].source":                                translate,
	"volumes[].target":                                translate,
	"volumes[].read_only":                             translate,
	"volumes[].consistency":                           ignore("it is for Docker on a Mac"),
	"volumes[].bind":                                  translate,
	"volumes[].bind.selinux":                          ignore("Debian has no SELinux"),
	"volumes[].bind.propagation":                      refuse("remove it: mounts do not travel between a container and the machine"),
	"volumes[].bind.create_host_path":                 ignore("folders of state are always made"),
	"volumes[].bind.recursive":                        refuse("remove it"),
	"volumes[].volume":                                translate,
	"volumes[].volume.labels":                         ignore("folders have no labels"),
	"volumes[].volume.nocopy":                         ignore("nothing is copied: a volume begins empty"),
	"volumes[].volume.subpath":                        translate,
	"volumes[].tmpfs":                                 translate,
	"volumes[].tmpfs.size":                            translate,
	"volumes[].tmpfs.mode":                            translate,
	"volumes[].image":                                 translate,
	"volumes[].image.subpath":                         refuse("mount the whole image"),
	"volumes_from":                                    refuse("name the volume in both services"),
	"working_dir":                                     translate,
	"pre_start":                                       refuse("write it as a service of its own that this one depends on with service_completed_successfully"),
	"post_start":                                      refuse("do it in the image's entrypoint, or in a service of its own that this one depends on with service_completed_successfully"),
	"pre_stop":                                        refuse("do it in the program's answer to stop_signal"),
}

// projectRules are the fates of the keys outside the services, by their path
// from the file's root.
var projectRules = map[string]rule{
	"name":     translate,
	"version":  ignore(legacy),
	"services": translate,
	"include":  refuse("put the services into this file: it says everything that is in the image"),
	"models":   refuse("run the model's server as a service with image"),
	"jobs":     refuse("write it as a service; what runs at set times is a timer of a custom layer's"),

	"networks":                               translate,
	"networks.*":                             translate,
	"networks.*.name":                        translate,
	"networks.*.driver":                      translate,
	"networks.*.driver_opts":                 refuse("remove it: a bridge with Podman's defaults is what there is"),
	"networks.*.ipam":                        translate,
	"networks.*.ipam.driver":                 refuse("remove it: Podman gives the addresses out"),
	"networks.*.ipam.options":                refuse("remove it: Podman gives the addresses out"),
	"networks.*.ipam.config":                 translate,
	"networks.*.ipam.config[].subnet":        translate,
	"networks.*.ipam.config[].gateway":       translate,
	"networks.*.ipam.config[].ip_range":      translate,
	"networks.*.ipam.config[].aux_addresses": refuse("leave the addresses out of ip_range"),
	"networks.*.external":                    refuse("describe the network in this file: there are no others on the machine"),
	"networks.*.internal":                    translate,
	"networks.*.attachable":                  ignore(swarm),
	"networks.*.labels":                      translate,
	"networks.*.labels.*":                    translate,
	"networks.*.enable_ipv4":                 refuse("remove it: a bridge has IPv4"),
	"networks.*.enable_ipv6":                 translate,

	"volumes":               translate,
	"volumes.*":             translate,
	"volumes.*.name":        ignore("the folder has the volume's name in this file"),
	"volumes.*.driver":      translate,
	"volumes.*.driver_opts": refuse("remove it: volumes are folders on the state partition"),
	"volumes.*.external":    refuse("describe the volume in this file: there are no others on the machine"),
	"volumes.*.labels":      ignore("folders have no labels"),

	"secrets":                   translate,
	"secrets.*":                 translate,
	"secrets.*.name":            ignore("the slot has the secret's name in this file"),
	"secrets.*.file":            ignore("the value is not read from here: it is the machine's, and comes from the folder secrets"),
	"secrets.*.environment":     ignore("the value is not read from here: it is the machine's, and comes from the folder secrets"),
	"secrets.*.content":         refuse("remove it: a secret has no place in this file; it comes from the folder secrets"),
	"secrets.*.external":        ignore("the value comes from the folder secrets"),
	"secrets.*.labels":          ignore("files have no labels"),
	"secrets.*.driver":          refuse("remove it: the value comes from the folder secrets"),
	"secrets.*.driver_opts":     refuse("remove it: the value comes from the folder secrets"),
	"secrets.*.template_driver": refuse("remove it: the value is used as it is"),

	"configs":                   translate,
	"configs.*":                 translate,
	"configs.*.name":            ignore("the file has the config's name in this file"),
	"configs.*.file":            translate,
	"configs.*.environment":     translate,
	"configs.*.content":         translate,
	"configs.*.external":        refuse("give its content with file or content"),
	"configs.*.labels":          ignore("files have no labels"),
	"configs.*.driver":          refuse("remove it: the content is in the sealed root"),
	"configs.*.driver_opts":     refuse("remove it: the content is in the sealed root"),
	"configs.*.template_driver": refuse("remove it: the content is used as it is"),
}

// sections are the types of what is outside the services.
var sections = map[string]reflect.Type{
	"networks.*": reflect.TypeFor[types.NetworkConfig](),
	"volumes.*":  reflect.TypeFor[types.VolumeConfig](),
	"secrets.*":  reflect.TypeFor[types.SecretConfig](),
	"configs.*":  reflect.TypeFor[types.ConfigObjConfig](),
}

// keysOf lists the keys of a type and of everything below it, by their paths.
func keysOf(t reflect.Type, at string, into map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer:
		keysOf(t.Elem(), at, into)
	case reflect.Slice:
		keysOf(t.Elem(), at+"[]", into)
	case reflect.Map:
		into[at+".*"] = true
		keysOf(t.Elem(), at+".*", into)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, flags, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if inline := strings.Contains(flags, "inline"); inline && f.Type.Kind() == reflect.Struct {
				keysOf(f.Type, at, into)
				continue
			} else if inline || name == "-" || !f.IsExported() {
				continue // extensions, and what is no key
			}
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			here := strings.TrimPrefix(at+"."+name, ".")
			into[here] = true
			keysOf(f.Type, here, into)
		}
	}
}

// known are all paths of keys that Compose has, from the file's root.
var known = sync.OnceValue(func() map[string]bool {
	keys := map[string]bool{}
	for path := range projectRules {
		keys[path] = true
	}
	for at, t := range sections {
		keysOf(t, at, keys)
	}
	keys["services.*"] = true
	keysOf(reflect.TypeFor[types.ServiceConfig](), "services.*", keys)
	delete(keys, "services.*.name") // compose-go's own
	return keys
})

// ruleOf is the fate of a key by its path from the root.
func ruleOf(pattern string) rule {
	if key, ok := strings.CutPrefix(pattern, "services.*."); ok {
		return serviceRules[key]
	}
	return projectRules[pattern]
}

// patternOf is the path of a key below a parent's: by its name, or that of any
// key of a mapping.
func patternOf(parent string, step any) (pattern string, ok bool) {
	name, isKey := step.(string)
	if !isKey {
		return parent + "[]", true
	}
	for _, candidate := range []string{strings.TrimPrefix(parent+"."+name, "."), strings.TrimPrefix(parent+".*", ".")} {
		if known()[candidate] {
			return candidate, true
		}
	}
	return "", false
}

// siblings are the names of the keys that may stand beside one.
func siblings(parent string) []string {
	var names []string
	for pattern := range known() {
		name, below := strings.CutPrefix(pattern, parent+".")
		if parent == "" {
			name, below = pattern, true
		}
		if below && !strings.ContainsAny(name, ".[*") {
			names = append(names, name)
		}
	}
	return names
}
