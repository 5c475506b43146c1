-- Health of an InferenceEnsemble for Argo CD. Of Lua's libraries it needs the base library alone, which Argo CD
-- gives to every script: useOpenLibs may stay off.
local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function holds(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

local function health(verdict, kind)
  local condition = conditions[kind]
  return { status = verdict, message = condition.reason .. ": " .. condition.message }
end

if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "it is being deleted" }
end
-- Until the operator has seen this generation, the conditions speak of the one before.
if status.observedGeneration ~= obj.metadata.generation or conditions.Ready == nil then
  return { status = "Progressing", message = "the operator has not seen this change yet" }
end
if obj.spec.suspend == true or conditions.Ready.reason == "Paused" then
  return health("Suspended", "Ready")
end
if holds("Stalled") then
  local found = health("Degraded", "Stalled")
  if holds("Available") then
    found.message = found.message .. " (what served before goes on serving)"
  end
  return found
end
if holds("Ready") then
  return health("Healthy", "Ready")
end
return health("Progressing", "Ready")
